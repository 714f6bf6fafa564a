"""One whole network, as both of torch's exporters write it, folded by each tool.

Run times are of single images on one thread; all graphs take turns in every round, so that what is
compared lies milliseconds apart.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch

from benchmarks.folding_bench.networks import Network, built
from benchmarks.folding_bench.onnx_tools import ON_MODELS
from benchmarks.folding_bench.tools import exported, exported_by_tracing
from training.errors import TrainingError
from training.folding.onnx_frontend import fold_model
from training.folding.proof import prove_fold
from training.folding.proof.running.reference import Reference
from training.folding.proof.tolerances import FourLogits

EXPORTERS = {
    "default": exported,
    "traced": lambda network, example: exported_by_tracing(network, example, fold=False),
}
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")
ROUNDS = 7
WARM_UPS = 2
OURS = "Foldnorm"
UNFOLDED = "as exported"


@dataclass
class Folded:
    """What one tool made of a network.

    Attributes:
        norms: BatchNormalization nodes left.
        error: largest error over the largest output, against float64.
        wrong: whether rounding does not explain the error.
        median_ms, spread_ms: run time by onnxruntime's level; the spread from the first to the
            third quartile.
        failure: why there is nothing.
    """

    tool: str
    norms: int = 0
    error: float = 0.0
    wrong: bool = False
    median_ms: dict[str, float] = field(default_factory=dict)
    spread_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    failure: str = ""


@dataclass
class Whole:
    """A network: what was there, what is left and why, and each tool."""

    network: str
    exporter: str
    norms: int
    refusals: dict[str, int]
    proof_holds: bool
    algebra_ratio: float | None
    rounding_ratio: float
    tools: list[Folded]


def measure(network: Network, exporter: str, *, timed: bool) -> Whole:
    """Return how a network fares; `timed` whether run times are measured as well."""
    example = torch.randn(network.shape, generator=torch.Generator().manual_seed(0))
    model = EXPORTERS[exporter](built(network), example)
    original = onnx_ir.from_proto(model)
    folded = fold_model(original)
    verdict = prove_fold(original, folded)
    graphs = {UNFOLDED: model, OURS: onnx_ir.to_proto(folded.model)}
    tools = [Folded(UNFOLDED), Folded(OURS)]
    tools += [_try(name, fold, model, graphs) for name, fold in ON_MODELS.items()]
    x = example.numpy()
    truth = Reference(original).run({str(original.graph.inputs[0].name): x})[0]
    for tool in tools:
        if tool.tool in graphs:
            _compare(tool, graphs[tool.tool], model, x, truth)
    if timed:
        _time({tool.tool: (tool, graphs[tool.tool]) for tool in tools if not tool.failure}, x)
    reasons = Counter(_kind_of(row.reason) for row in folded.norms if row.reason)
    return Whole(
        network=network.name,
        exporter=exporter,
        norms=count(model),
        refusals=dict(reasons),
        proof_holds=verdict.holds,
        algebra_ratio=verdict.algebra.ratio if verdict.algebra else None,
        rounding_ratio=verdict.rounding.ratio,
        tools=tools,
    )


def _try(
    name: str,
    fold: Callable[[onnx.ModelProto], onnx.ModelProto],
    model: onnx.ModelProto,
    graphs: dict[str, onnx.ModelProto],
) -> Folded:
    try:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        graphs[name] = fold(copy)
    except Exception as error:
        return Folded(name, failure=f"{type(error).__name__}: {error}"[:200])
    return Folded(name)


def _compare(
    tool: Folded, graph: onnx.ModelProto, model: onnx.ModelProto, x: np.ndarray, truth: np.ndarray
) -> None:
    tool.norms = count(graph)
    unfolded = _outputs(model, x)
    try:
        folded = _outputs(graph, x)
    except Exception as error:  # onnxruntime's exceptions share no other base
        tool.failure = f"not a valid model: {error}"[:200]
        return
    four = FourLogits(truth, truth, unfolded, folded)
    tool.error = float(np.abs(folded.astype(np.float64) - truth).max() / four.scale)
    tool.wrong = not four.rounding_ratio <= 1


def count(model: onnx.ModelProto) -> int:
    """Return how many BatchNormalization nodes a model has."""
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def _kind_of(reason: str) -> str:
    """Return a reason without the names of nodes, so that equal ones can be counted."""
    words = [word for word in reason.split() if not any(c in word for c in "_/0123456789")]
    return " ".join(words)


def _outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = _session(model, "ORT_DISABLE_ALL")
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def _session(model: onnx.ModelProto, level: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _time(graphs: dict[str, tuple[Folded, onnx.ModelProto]], x: np.ndarray) -> None:
    sessions = [
        (tool, level, _session(graph, level)) for tool, graph in graphs.values() for level in LEVELS
    ]
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(WARM_UPS + ROUNDS):
        for tool, level, session in sessions:
            started = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: x})
            if turn >= WARM_UPS:
                times.setdefault((tool.tool, level), []).append(time.perf_counter() - started)
    for tool, level, _ in sessions:
        taken = [1e3 * one for one in times[tool.tool, level]]
        low, middle, high = statistics.quantiles(taken, n=4)
        tool.median_ms[level] = round(middle, 3)
        tool.spread_ms[level] = (round(low, 3), round(high, 3))


def measured(network: Network, exporter: str, *, timed: bool) -> Whole | str:
    """Return how a network fares, or why it could not be measured."""
    try:
        return measure(network, exporter, timed=timed)
    except (TrainingError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:300]
