"""One tool on one pattern, in a process of its own: some crash.

What is left is counted, not believed, and outputs are compared with the network in float64 by the
rule of the verdict: an error that the unfolded network does not have is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import fx, nn

from benchmarks.folding_bench.patterns import PATTERNS, Pattern, built
from benchmarks.folding_bench.tools import TOOLS, Tool, exported
from training.folding.proof.tolerances import FourLogits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LIMIT_S = 120.0
# What a batch norm is, or falls apart into; a fold leaves none of these, but for the sums and
# border values that a pattern has without it.
NORM_OPERATORS = ("BatchNormalization", "Sub", "Div", "Mul", "Sqrt", "Reciprocal")
NORM_FUNCTIONS = ("batch_norm", "sub", "truediv", "div", "mul", "sqrt")


@dataclass(frozen=True)
class Cell:
    """What a tool made of a pattern.

    Attributes:
        state: `folded`, `partly`, `kept`, `wrong`, `error`; `export` where the graph that the tool
            would get is not the network.
        left, of: parts of batch norms that are left, and that there were.
        error: largest error over the largest output; None where nothing could be run.
        detail: the message of an error.
    """

    tool: str
    pattern: str
    state: str
    left: int = 0
    of: int = 0
    error: float | None = None
    detail: str = ""


def measure(tool: Tool, pattern: Pattern) -> Cell:
    """Return a tool's cell, measured in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(tool, pattern, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT_S):
            process.kill()
            return Cell(tool.name, pattern.name, "error", detail=f"longer than {LIMIT_S:g} s")
        cell: Cell = ours.recv()
        return cell
    except EOFError:
        process.join()
        return Cell(tool.name, pattern.name, "error", detail=f"exit code {process.exitcode}")
    finally:
        process.join()


def _send(tool: Tool, pattern: Pattern, connection: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    try:
        connection.send(_measured(tool, pattern))
    except Exception as error:
        detail = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        connection.send(Cell(tool.name, pattern.name, "error", detail=detail[:200]))


def _measured(tool: Tool, pattern: Pattern) -> Cell:
    inputs = _inputs(pattern)
    if tool.takes_onnx and not _is_exported_right(pattern, inputs):
        return Cell(tool.name, pattern.name, "export")
    outcome = tool.run(built(pattern), inputs[0])
    before = count(_traced_or_itself(built(pattern)))
    left = count(outcome)
    four = [_compared(pattern, outcome, x) for x in inputs]
    error = max(_relative(one) for one in four)
    wrong = any(not one.rounding_ratio <= 1 for one in four)
    state = "wrong" if wrong else "folded" if left == 0 else "kept" if left >= before else "partly"
    return Cell(tool.name, pattern.name, state, left, before, error)


def _compared(
    pattern: Pattern, outcome: nn.Module | onnx.ModelProto, x: torch.Tensor
) -> FourLogits:
    truth = _run(built(pattern).double(), x.double())
    return FourLogits(truth, truth, _run(built(pattern), x), _run(outcome, x))


def _is_exported_right(pattern: Pattern, inputs: list[torch.Tensor]) -> bool:
    """Return whether the exported graph is the network: no tool can be blamed if it is not."""
    graph = exported(built(pattern), inputs[0])
    return all(_compared(pattern, graph, x).rounding_ratio <= 1 for x in inputs)


def _inputs(pattern: Pattern) -> list[torch.Tensor]:
    """Return inputs that show border and sign: noise, ones, and ones on the border alone."""
    generator = torch.Generator().manual_seed(0)
    border = torch.zeros(pattern.shape)
    border[..., 0] = border[..., -1] = 1
    noise = torch.randn(pattern.shape, generator=generator)
    return [noise, torch.ones(pattern.shape), border, 100 * noise]


def _traced_or_itself(network: nn.Module) -> nn.Module:
    try:
        return fx.symbolic_trace(network)
    except Exception:
        return network


def count(outcome: nn.Module | onnx.ModelProto) -> int:
    """Return how many batch norms, or parts of them, are left."""
    if isinstance(outcome, onnx.ModelProto):
        border = {
            name for node in outcome.graph.node if "border" in node.name for name in node.output
        }
        return sum(
            node.op_type in NORM_OPERATORS and not border & set(node.output)
            for node in outcome.graph.node
        )
    if isinstance(outcome, fx.GraphModule):
        return sum(_is_norm(outcome, node) for node in outcome.graph.nodes)
    return sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in outcome.modules())


def _is_norm(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and name in NORM_FUNCTIONS


def _run(outcome: nn.Module | onnx.ModelProto, x: torch.Tensor) -> np.ndarray[Any, Any]:
    if isinstance(outcome, nn.Module):
        with torch.no_grad():
            return np.asarray(outcome(x).numpy())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        outcome.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def _relative(four: FourLogits) -> float:
    return float(np.abs(four.folded.astype(np.float64) - four.truth).max() / four.scale)


def all_cells() -> Iterator[Cell]:
    """Measure every tool on every pattern."""
    warm_up()
    for pattern in PATTERNS:
        for tool in TOOLS:
            yield measure(tool, pattern)


def warm_up() -> None:
    """Import what tools import, so that their processes need not: they are forks of this one."""
    torch.set_num_threads(1)
    for tool in TOOLS:
        with contextlib.suppress(Exception):
            tool.run(built(PATTERNS[0]), _inputs(PATTERNS[0])[0])
