"""Operations that a map per channel passes unchanged, under their conditions.

- same: always
- max pooling: max(s x + t) = s max(x) + t if every s >= 0
- mean: mean(s x + t) = s mean(x) + t if the weights of the mean sum to 1, or t = 0
"""

from __future__ import annotations

import numpy as np

from training.folding.algebra.affine import FoldRefused, channels_named
from training.folding.engine.graph import Average, Graph, Maximum, Same
from training.folding.engine.rule import Direction, Move, Onward, Rule


class Passage(Rule):
    """A map comes out on the other side as it went in."""

    def __init__(self, direction: Direction) -> None:
        self.direction = direction

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what does not commute."""
        self.refuse(move)
        (source,) = move.node.inputs
        return (
            move.onward(move.map, source if self.direction == "backward" else move.node.output),
        )

    def refuse(self, move: Move) -> None:
        """Raise FoldRefused if the operation does not commute with the map."""


class PassSame(Passage):
    """Identity and dropout."""

    pattern = "identity"
    operation = Same


class PassMaximum(Passage):
    """Max pooling keeps the order of its inputs only under scales that are not negative."""

    pattern = "max pool"
    operation = Maximum

    def refuse(self, move: Move) -> None:
        """Name the channels whose scale is negative."""
        check_channels_kept(move)
        negative = np.flatnonzero(move.map.scale < 0)
        if negative.size:
            raise FoldRefused(
                f"{move.node.name} takes a maximum, which a negative scale turns into a minimum: "
                f"{negative.size} of {move.map.scale.size}, {channels_named(negative)}"
            )


class PassAverage(Passage):
    """A mean commutes with any map if its weights sum to 1."""

    pattern = "average pool"
    operation = Average

    def refuse(self, move: Move) -> None:
        """Refuse a shift where zeros of the padding are counted."""
        check_channels_kept(move)
        operation = move.node.operation
        assert isinstance(operation, Average), "a rule is asked about its own operation"
        if operation.attenuates and move.map.shifts:
            raise FoldRefused(
                f"{move.node.name} counts the zeros of its padding, which attenuates a shift at "
                "the border"
            )


def check_channels_kept(move: Move) -> None:
    """Refuse a map on an axis that the operation may mix."""
    if not move.is_uniform and move.axis != 1:
        raise FoldRefused(f"{move.node.name} may mix axis {move.axis}, that of the channels")
