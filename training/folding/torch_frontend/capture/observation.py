"""What one run of a traced network shows of each operation: shape, type, aliases, mutations.

Folding takes operations out and so changes which tensors share memory. Where an operation works in
place that would matter, unless every tensor that shares this memory is read only once: then the
next operation is always the last one to see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from training.errors import FoldError

REMEDY = "export it to ONNX and fold that: foldnorm fold MODEL"


class HiddenStateError(FoldError):
    """What was traced computes something else than the network, or the network does each time."""


@dataclass
class Observations:
    """What was seen.

    Attributes:
        shapes: of the results that are tensors.
        dtypes: of the same.
        aliases: pairs of nodes whose results share memory.
        mutated: node whose result was changed in place -> the node that did it.
    """

    shapes: dict[fx.Node, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[fx.Node, torch.dtype] = field(default_factory=dict)
    aliases: list[tuple[fx.Node, fx.Node]] = field(default_factory=list)
    mutated: dict[fx.Node, fx.Node] = field(default_factory=dict)


class _Observer(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.seen = Observations()

    def run_node(self, n: fx.Node) -> Any:
        inputs = [(source, list(tensors_of(self.env[source]))) for source in n.all_input_nodes]
        versions = [[tensor._version for tensor in tensors] for _, tensors in inputs]
        result = super().run_node(n)
        memory = {_memory(tensor) for tensor in tensors_of(result)}
        for (source, tensors), before in zip(inputs, versions, strict=True):
            if [tensor._version for tensor in tensors] != before:
                self.seen.mutated[source] = n
            if memory & {_memory(tensor) for tensor in tensors}:
                self.seen.aliases.append((source, n))
        if isinstance(result, torch.Tensor):
            self.seen.shapes[n] = tuple(result.shape)
            self.seen.dtypes[n] = result.dtype
            n.meta["like"] = torch.empty(0, dtype=result.dtype, device=result.device)
        return result


def observe(
    traced: fx.GraphModule, network: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> Observations:
    """Run the network in inference mode, and leave it and the random state as they were.

    `network` is what `traced` was made from, and runs too: both must agree.

    Raises:
        HiddenStateError: what was traced is another network.
        FoldError: what was traced does not run.
    """
    modes = {module: module.training for module in (*traced.modules(), *network.modules())}
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    observer = _Observer(traced.eval())
    try:
        result = run(observer, inputs)
        _restore(buffers)
        expected = run(network.eval(), inputs)
    except Exception as exc:  # the network's own code runs here
        raise FoldError(f"what torch traces of the network does not run: {exc}") from exc
    finally:
        _restore(buffers)
        for module, training in modes.items():
            module.training = training
    if not _alike(result, expected):
        raise HiddenStateError(
            "torch traces a network that computes something else, as it does where Python code "
            f"changes tensors or state that it does not see; {REMEDY}"
        )
    return observer.seen


def run(network: nn.Module | fx.Interpreter, inputs: tuple[torch.Tensor, ...]) -> Any:
    """Return the network's outputs for copies of the inputs, whatever random numbers it draws."""
    forward = network.run if isinstance(network, fx.Interpreter) else network.forward
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return forward(*(tensor.clone() for tensor in inputs))


def _restore(buffers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for buffer, value in buffers:
            buffer.copy_(value)


def _alike(result: object, expected: object) -> bool:
    pairs = list(zip(tensors_of(result), tensors_of(expected), strict=True))
    return all(torch.allclose(*pair, equal_nan=True) for pair in pairs)


def changed_in_place(seen: Observations, readers: dict[fx.Node, int]) -> dict[fx.Node, fx.Node]:
    """Return the nodes whose result must not be touched -> the one that changes it in place.

    A change in place is harmless if each tensor that shared the memory before was read once only,
    by the next of them: then nobody sees the change but those who read its result. `readers` counts
    who reads a node's numbers.
    """
    touched: dict[fx.Node, fx.Node] = {}
    for node, culprit in seen.mutated.items():
        before = _sharing(node, [pair for pair in seen.aliases if culprit not in pair])
        if any(readers[one] > 1 or one.op in ("placeholder", "get_attr") for one in before):
            touched.update(dict.fromkeys(_sharing(node, seen.aliases), culprit))
    return touched


def _sharing(node: fx.Node, aliases: list[tuple[fx.Node, fx.Node]]) -> set[fx.Node]:
    """Return the nodes whose results share memory with one, by these pairs; itself too."""
    found, pending = {node}, [node]
    while pending:
        one = pending.pop()
        near = {other for pair in aliases if one in pair for other in pair} - found
        found |= near
        pending += near
    return found


def tensors_of(result: Any) -> Iterator[torch.Tensor]:
    """Return the tensors in whatever a network returns, in their order."""
    return (leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor))


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
