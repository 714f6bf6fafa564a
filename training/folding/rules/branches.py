"""Sums and concatenations: the map enters every branch, or goes round one.

    s (x + y) + t    = (s x + t) + s y
    s [x, y] + t     = [s_x x + t_x, s_y y + t_y]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.folding.affine import ChannelMap, FoldRefused
from training.folding.graph import Concat, Sum

if TYPE_CHECKING:
    from training.folding.graph import Graph, Node
    from training.folding.rules import Move, Onward


class BehindSum:
    """Every branch takes the scale, the first one the shift as well."""

    pattern = "sum → bn"
    operation = Sum
    side = "behind"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Leave it to the branches to refuse."""
        first, *others = move.node.inputs
        unshifted = move.map.without_shift()
        return (
            move.onward(move.map, first),
            *(move.onward(unshifted, other) for other in others),
        )

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Nothing changes."""


class BehindConcat:
    """Every branch takes the part for its channels."""

    pattern = "concat → bn"
    operation = Concat
    side = "behind"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse branches of unknown size, and another axis than that of the channels."""
        sizes = _branch_sizes(move)
        if sizes is None or move.is_uniform:
            return tuple(move.onward(move.map, source) for source in move.node.inputs)
        parts = move.map.split(sizes)
        return tuple(
            move.onward(part, source)
            for part, source in zip(parts, move.node.inputs, strict=True)
        )

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Nothing changes."""


class BeforeConcat:
    """What follows takes the map for the channels of this branch, and leaves the others alone."""

    pattern = "bn → concat"
    operation = Concat
    side = "before"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse branches of unknown size, and another axis than that of the channels."""
        sizes = _branch_sizes(move)
        if sizes is None:
            raise FoldRefused(f"{move.node.name} joins other places with the same channels")
        scale = [np.ones(size) for size in sizes]
        shift = [np.zeros(size) for size in sizes]
        for index, source in enumerate(move.node.inputs):
            if source is move.value:
                whole = move.map.broadcast(sizes[index])
                scale[index], shift[index] = whole.scale, whole.shift
        joined = ChannelMap(np.concatenate(scale), np.concatenate(shift))
        return (move.onward(joined, move.node.output, _axis(move.node)),)

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Nothing changes."""


def _axis(node: Node) -> int:
    assert isinstance(node.operation, Concat), "a rule is asked about its own operation"
    return node.operation.axis


def _branch_sizes(move: Move) -> list[int] | None:
    """Return the channels of each branch, None where the branches are joined on another axis."""
    axis = _axis(move.node)
    if not move.is_uniform and axis != move.axis:
        return None
    sizes = [source.size(axis) for source in move.node.inputs]
    if any(size is None for size in sizes):
        raise FoldRefused(f"the sizes of what {move.node.name} joins are not known")
    return [size for size in sizes if size is not None]
