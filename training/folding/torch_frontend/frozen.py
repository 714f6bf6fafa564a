"""Frozen batch norms: modules that scale and shift by numbers that they keep.

They are known by what they compute, whatever their class is called: a chain of arithmetic in one
module's forward, y = scale x + shift, whose constants are made of tensors of that module, buffers
among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import fx, nn

from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import Affine
from training.folding.torch_frontend.calls import call_of, module_path
from training.folding.torch_frontend.capture.constants import Constants, attribute
from training.folding.torch_frontend.capture.observation import Observations
from training.folding.torch_frontend.operations import operation_of

RANKS = (2, 3, 4, 5)  # of the inputs of torch's batch norms
SCALING = {"mul", "multiply", "div", "divide", "true_divide", "truediv"}
SHIFTING = {"add", "sub", "subtract"}


@dataclass(frozen=True, eq=False)
class Chain:
    """The steps of a frozen batch norm, in their order.

    Attributes:
        path: of the module.
        nodes: each reads the one before.
        source: what the first one reads.
        map: all of them together, (C,).
    """

    path: str
    nodes: tuple[fx.Node, ...]
    source: fx.Node
    map: ChannelMap


def frozen_norms(traced: fx.GraphModule, constants: Constants, seen: Observations) -> list[Chain]:
    """Return the frozen batch norms of a network."""
    steps = {
        node: operation
        for node in traced.graph.nodes
        if constants.is_value(node)
        and module_path(node)
        and node.op in ("call_function", "call_method")
        and isinstance(operation := operation_of(call_of(traced, node), constants, seen), Affine)
    }
    found = (_chain(traced, nodes, steps, constants, seen) for nodes in _runs(steps, constants))
    return [chain for chain in found if chain is not None]


def _runs(steps: dict[fx.Node, Affine], constants: Constants) -> Iterator[list[fx.Node]]:
    """Yield the longest sequences of steps of one module, each the only reader of the last."""
    run: list[fx.Node] = []
    for node in steps:
        if run and not (
            _source(node, constants) is run[-1]
            and set(run[-1].users) == {node}
            and _stack(node) == _stack(run[-1])
        ):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _chain(
    traced: fx.GraphModule,
    nodes: list[fx.Node],
    steps: dict[fx.Node, Affine],
    constants: Constants,
    seen: Observations,
) -> Chain | None:
    """Return a sequence of steps as a frozen batch norm, None where it is something else."""
    path, shape = module_path(nodes[0]), seen.shapes[nodes[0]]
    map_ = ChannelMap(np.ones(1), np.zeros(1))
    for node in nodes:
        map_ = steps[node].map.after(map_)
    roots = {
        str(root.target)
        for node in nodes
        for constant in node.all_input_nodes
        if constant in constants
        for root in constants.roots(constant)
    }
    own = all(root.rpartition(".")[0] == path for root in roots)
    buffers = any(not isinstance(attribute(traced, root), nn.Parameter) for root in roots)
    kinds = {call_of(traced, node).kind.removeprefix("i") for node in nodes}
    both = bool(kinds & SCALING and kinds & SHIFTING)
    channels = len(shape) in RANKS and {steps[node].axis for node in nodes} == {1}
    if not (own and buffers and both and channels and map_.scale.size == shape[1]):
        return None
    return Chain(path, tuple(nodes), _source(nodes[0], constants), map_)


def _source(node: fx.Node, constants: Constants) -> fx.Node:
    (source,) = (one for one in node.all_input_nodes if constants.is_value(one))
    return source


def _stack(node: fx.Node) -> list[str]:
    return list(node.meta["nn_module_stack"])
