"""A constant that varies along several axes, as an embedding of positions.

backward    s (x + k) + t = (s x + t) + s k
forward     (s x + t) + k = s (x + k / s) + t
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import FoldRefused, channels_named
from training.folding.algebra.rounding import largest
from training.folding.engine.graph import Graph, Offset
from training.folding.engine.rule import Direction, Move, Onward, Rule


class PassOffset(Rule):
    """The constant is scaled as well."""

    pattern = "offset"
    operation = Offset

    def __init__(self, direction: Direction) -> None:
        self.direction = direction

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse channels that the constant broadcasts, and values that do not stay finite."""
        source, output = move.node.inputs[0], move.node.output
        sizes = {tuple(value.size(axis) for axis in move.axes) for value in (source, output)}
        if not move.is_uniform and sizes != {move.map.scale.shape}:
            raise FoldRefused(f"{move.node.name} adds a constant with other channels")
        self._moved(move)
        return (move.onward(move.map, source if self.direction == "backward" else output),)

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Scale the constant."""
        offset = _offset(move)
        offset.values, offset.changed = self._moved(move), True

    def _moved(self, move: Move) -> NDArray[np.float64]:
        """Return s k, or k / s."""
        values, dtype = _offset(move).values, _offset(move).dtype
        shape = [1] * values.ndim
        for axis, size in zip(move.axes, move.map.scale.shape, strict=True):
            shape[axis] = size
        scale = move.map.scale.reshape(shape)
        if self.direction == "backward":
            moved = scale * values
        else:
            stuck = np.flatnonzero(move.map.scale == 0)
            if stuck.size:
                raise FoldRefused(
                    f"{move.node.name} adds a constant, and the scale is zero in "
                    f"{channels_named(stuck)}"
                )
            with np.errstate(over="ignore"):
                moved = values / scale
        if not np.abs(moved).max(initial=0.0) <= largest(dtype):
            raise FoldRefused(f"{move.node.name} adds a constant, which would overflow {dtype}")
        return moved


def _offset(move: Move) -> Offset:
    assert isinstance(move.node.operation, Offset), "a rule is asked about its own operation"
    return move.node.operation
