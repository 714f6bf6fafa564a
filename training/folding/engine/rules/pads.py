"""Padding by a node of its own, before or after a map.

Values that come from the image itself, repeated, mirrored or wrapped, commute with any map. A
constant v does if the map sends it to itself, and else becomes one number for each channel:

    backward    s pad(x, v) + t = pad(s x + t, s v + t)
    forward     pad(s x + t, v) = s pad(x, (v - t) / s) + t
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap, FoldRefused, channels_named
from training.folding.algebra.rounding import largest
from training.folding.engine.graph import BorderPad, Graph, Pad
from training.folding.engine.rule import Direction, Move
from training.folding.engine.rules.passage import Passage, check_channels_kept

FLOAT32 = np.dtype(np.float32)


class PassPad(Passage):
    """A constant that the map would change becomes one for each channel."""

    pattern = "pad"
    operation = Pad

    def refuse(self, move: Move) -> None:
        """Refuse a constant that the map would change, where it has no exact replacement."""
        check_channels_kept(move)
        pad = _pad(move)
        if pad.value is None or _keeps(move.map, pad.value):
            return
        if move.from_constants:
            raise FoldRefused(f"{move.node.name} pads with {pad.value:g}, which it would change")
        if pad.padding is None or min(min(border) for border in pad.padding) < 0:
            raise FoldRefused(
                f"{move.node.name} pads by an amount that is not known, or crops; export the "
                "network with fixed sizes"
            )
        moved_values(move, np.array([pad.value]), self.direction, pad.dtype or FLOAT32)

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Put padding with one number for each channel in its place."""
        pad = _pad(move)
        if pad.value is None or _keeps(move.map, pad.value):
            return
        assert pad.padding is not None, "checked before"
        values = moved_values(move, np.array([pad.value]), self.direction, pad.dtype or FLOAT32)
        graph.insert_before(move.node, BorderPad(pad.padding, values))
        graph.bypass(move.node)


class PassBorderPad(Passage):
    """Padding that has one number for each channel already gets others."""

    pattern = "pad"
    operation = BorderPad

    def refuse(self, move: Move) -> None:
        """Refuse where a scale of zero would have to make a border."""
        check_channels_kept(move)
        moved_values(move, _border(move).values, self.direction, FLOAT32)

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Change the numbers."""
        border = _border(move)
        border.values = moved_values(move, border.values, self.direction, FLOAT32)


def moved_values(
    move: Move, values: NDArray[np.float64], direction: Direction, dtype: np.dtype
) -> NDArray[np.float64]:
    """Return the border values once the map has passed: s v + t, or (v - t) / s.

    Raises:
        FoldRefused: a scale is zero, so that nothing is sent to the border's value, or a value
            overflows.
    """
    scale, shift = move.map.scale, move.map.shift
    if direction == "backward":
        moved = scale * values + shift
    else:
        scale, missing = np.broadcast_arrays(scale, values - shift)
        stuck = np.flatnonzero((scale == 0) & (missing != 0))
        if stuck.size:
            raise FoldRefused(
                f"{move.node.name} pads, and the scale is zero in {channels_named(stuck)}: no "
                "border value would be sent to the right one"
            )
        with np.errstate(over="ignore"):
            moved = missing / np.where(scale == 0, 1.0, scale) + 0.0  # never -0
    wild = np.flatnonzero(~(np.abs(moved) <= largest(dtype)))
    if wild.size:
        raise FoldRefused(
            f"{move.node.name} pads, and the border would overflow {dtype} in "
            f"{channels_named(wild)}, where the scale is next to zero"
        )
    return moved


def _keeps(map_: ChannelMap, value: float) -> bool:
    return bool(np.all(map_.scale * value + map_.shift == value))


def _pad(move: Move) -> Pad:
    assert isinstance(move.node.operation, Pad), "a rule is asked about its own operation"
    return move.node.operation


def _border(move: Move) -> BorderPad:
    assert isinstance(move.node.operation, BorderPad), "a rule is asked about its own operation"
    return move.node.operation
