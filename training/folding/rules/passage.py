"""Operations that a map per channel passes unchanged, under their conditions.

    same            always
    max pooling     max(s x + t) = s max(x) + t       if every s >= 0
    mean            mean(s x + t) = s mean(x) + t     if the weights of the mean sum to 1, or t = 0
    padding         with values of the image itself always; with a constant v if s v + t = v
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.folding.affine import FoldRefused
from training.folding.graph import Average, Maximum, Pad, Same

if TYPE_CHECKING:
    from training.folding.graph import Graph
    from training.folding.rules import Move, Onward, Side


class _Passage:
    """A map comes out on the other side as it went in."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what does not commute."""
        self.refuse(move)
        (source,) = move.node.inputs
        return (move.onward(move.map, source if self.side == "behind" else move.node.output),)

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Nothing changes."""

    def refuse(self, move: Move) -> None:
        """Raise FoldRefused if the operation does not commute with the map."""


class PassSame(_Passage):
    """Identity and dropout."""

    pattern = "identity"
    operation = Same


class PassMaximum(_Passage):
    """Max pooling keeps the order of its inputs only under scales that are not negative."""

    pattern = "max pool"
    operation = Maximum

    def refuse(self, move: Move) -> None:
        """Name the channels whose scale is negative."""
        _check_channels_kept(move)
        negative = np.flatnonzero(move.map.scale < 0)
        if negative.size:
            named = ", ".join(map(str, negative[:8])) + (", …" if negative.size > 8 else "")
            raise FoldRefused(
                f"{move.node.name} takes a maximum, and the scale of {negative.size} of "
                f"{move.map.scale.size} channels is negative: {named}"
            )


class PassAverage(_Passage):
    """A mean commutes with any map if its weights sum to 1."""

    pattern = "average pool"
    operation = Average

    def refuse(self, move: Move) -> None:
        """Refuse a shift where zeros of the padding are counted."""
        _check_channels_kept(move)
        operation = move.node.operation
        assert isinstance(operation, Average), "a rule is asked about its own operation"
        if operation.attenuates and move.map.shifts:
            raise FoldRefused(
                f"{move.node.name} counts the zeros of its padding, which attenuates a shift at "
                "the border"
            )


class PassPad(_Passage):
    """Padding with values of the image commutes; a constant must be sent to itself."""

    pattern = "pad"
    operation = Pad

    def refuse(self, move: Move) -> None:
        """Refuse a constant that the map would change."""
        _check_channels_kept(move)
        operation = move.node.operation
        assert isinstance(operation, Pad), "a rule is asked about its own operation"
        value = operation.value
        if value is not None and np.any(move.map.scale * value + move.map.shift != value):
            raise FoldRefused(f"{move.node.name} pads with {value:g}, which the map would change")


def _check_channels_kept(move: Move) -> None:
    if move.axis != 1 and not move.is_uniform:
        raise FoldRefused(f"{move.node.name} may mix axis {move.axis}, that of the channels")
