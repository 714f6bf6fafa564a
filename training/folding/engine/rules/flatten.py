"""`flatten`: channels become C * S features, S of each channel side by side."""

from __future__ import annotations

import math

import numpy as np

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.engine.graph import Flatten, Graph
from training.folding.engine.rule import Move, Onward, Rule


class ForwardFlatten(Rule):
    """Each channel's scale and shift is repeated for its positions."""

    pattern = "bn → flatten"
    operation = Flatten
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse positions whose number is not known."""
        if move.is_uniform:
            return (move.onward(move.map, move.node.output, 1),)
        if move.axis != 1:
            raise FoldRefused(f"{move.node.name} mixes axis {move.axis} into the features")
        channels, positions = _sizes(move)
        whole = move.map.broadcast(channels)
        repeated = ChannelMap(whole.scale.repeat(positions), whole.shift.repeat(positions))
        return (move.onward(repeated, move.node.output, 1),)


class BackwardFlatten(Rule):
    """The positions of one channel must have one scale and one shift."""

    pattern = "flatten → bn"
    operation = Flatten
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what differs between the positions of a channel."""
        (source,) = move.node.inputs
        if move.is_uniform:
            return (move.onward(move.map, source, 1),)
        if move.axis != 1:
            raise FoldRefused(f"{move.node.name} has its features on axis 1, not on {move.axis}")
        channels, positions = _sizes(move)
        whole = move.map.broadcast(channels * positions)
        scale, shift = (v.reshape(channels, positions) for v in (whole.scale, whole.shift))
        if np.any(scale != scale[:, :1]) or np.any(shift != shift[:, :1]):
            raise FoldRefused(
                f"{move.node.name} makes each of {positions} positions of a channel a feature, "
                "with a scale and a shift of its own"
            )
        return (move.onward(ChannelMap(scale[:, 0], shift[:, 0]), source, 1),)


def _sizes(move: Move) -> tuple[int, int]:
    """Return the number of channels and of positions of what is flattened."""
    (source,) = move.node.inputs
    sizes = None if source.shape is None else source.shape[1:]
    if not sizes or any(size is None for size in sizes):
        raise FoldRefused(
            f"{move.node.name} flattens {source.name}, whose sizes are not known; export the "
            "network with fixed sizes after the batch"
        )
    known = [size for size in sizes if size is not None]
    return known[0], math.prod(known[1:])
