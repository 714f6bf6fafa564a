"""Batch norms that are spelled out with constants: a scale for each channel, then a shift."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.folding.engine.graph import Affine, Graph, Node
from training.folding.engine.sum_tree import is_private


def spelled_out(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Yield the first and the last of the constants that do what a batch norm does, in a row.

    A shift before the scale does so too, but for what an image's own numbers are first given.
    """
    for node in graph.nodes:
        constant = _constant(node)
        if constant is None or np.all(constant.map.scale == 1):
            continue
        first, last = _first(node), node
        if is_private(node.output):
            (last,) = node.output.consumers
        if _shifts_with(last, constant):
            yield first, last
        elif first.inputs[0].producer is not None and _shifts_before(node, first, constant):
            yield first, node


def _shifts_with(node: Node, scale: Affine) -> bool:
    """Whether a node shifts what another has scaled, one of them by a vector."""
    shift = _constant(node)
    if shift is None or shift is scale or shift.axis != scale.axis or not shift.map.shifts:
        return False
    return min(scale.map.scale.size, shift.map.scale.size) > 1


def _shifts_before(node: Node, first: Node, scale: Affine) -> bool:
    before = None if node is first else node.inputs[0].producer
    return before is not None and _shifts_with(before, scale)


def _first(node: Node) -> Node:
    """Return the first of the constants that lead to one and nowhere else."""
    while True:
        before = node.inputs[0].producer
        if before is None or _constant(before) is None or not is_private(before.output):
            return node
        node = before


def _constant(node: Node) -> Affine | None:
    """Return the map of constants that may go, None for anything else."""
    operation = node.operation
    if not isinstance(operation, Affine) or operation.norms or operation.locked is not None:
        return None
    return operation
