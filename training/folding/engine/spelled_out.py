"""Batch norms that are spelled out with constants: a scale for each channel, then a shift."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.folding.engine.graph import Affine, Graph, Node
from training.folding.engine.sum_tree import is_private


def spelled_out(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Yield the first and the last of the constants that do what a batch norm does, in a row."""
    for node in graph.nodes:
        constant = _constant(node)
        if constant is None or not is_private(node.output) or np.all(constant.map.scale == 1):
            continue
        (last,) = node.output.consumers
        shift = _constant(last)
        if shift is None or shift.axis != constant.axis or not shift.map.shifts:
            continue
        if min(constant.map.scale.size, shift.map.scale.size) > 1:
            yield _first(node), last


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
