"""Sums and concatenations: the map enters every branch, or goes round one.

s (x + y) + t     = (s x + t) + s y
(x + t) + y       = (x + y) + t
(s x + t) + (s y + u) = s (x + y) + (t + u)
s [x, y] + t      = [s_x x + t_x, s_y y + t_y]
[s x + t, y]      = [s, 1] [x, y] + [t, 0]
"""

from __future__ import annotations

import numpy as np

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.engine.graph import Concat, Graph, Linear, Node, Sum
from training.folding.engine.rule import Move, Onward, Rule


class BackwardSum(Rule):
    """Every branch takes the scale, and one of them the shift as well."""

    pattern = "sum → bn"
    operation = Sum
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse to broadcast channels; leave the rest to the branches."""
        _check_channels(move)
        sources = move.node.inputs
        layers = (
            place
            for place, source in enumerate(sources)
            if source.producer is not None and isinstance(source.producer.operation, Linear)
        )
        shifted = next(layers, 0)  # a layer can take a shift, what else is there maybe not
        unshifted = move.map.without_shift()
        return tuple(
            move.onward(move.map if place == shifted else unshifted, source)
            for place, source in enumerate(sources)
        )


class ForwardSum(Rule):
    """A shift may as well be added to the sum; a scale is that of all branches."""

    pattern = "bn → sum"
    operation = Sum
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse a scale of some branches only, and to broadcast channels."""
        _check_channels(move)
        alike = all(_place(one) == _place(move) for one in move.others)
        maps = [move.map_of(source) for source in move.node.inputs]
        if not alike or any(np.any(one.scale != move.map.scale) for one in maps):
            raise FoldRefused(
                f"{move.node.name} adds something else to it, which it must not scale"
            )
        shift = sum((one.shift for one in maps), np.zeros(1))
        return (move.onward(ChannelMap(move.map.scale, shift), move.node.output),)


class BackwardConcat(Rule):
    """Every branch takes the chunk for its channels."""

    pattern = "concat → bn"
    operation = Concat
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse branches of unknown size."""
        sources = move.node.inputs
        if move.is_uniform or _axis(move.node) not in move.axes:
            return tuple(move.onward(move.map, source) for source in sources)
        chunks = move.map.split(_branch_sizes(move.node, move.axis))
        return tuple(
            move.onward(chunk, source) for chunk, source in zip(chunks, sources, strict=True)
        )


class ForwardConcat(Rule):
    """What follows takes the map for the channels of this branch, and leaves the others alone."""

    pattern = "bn → concat"
    operation = Concat
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse branches of unknown size, and another axis than that of the channels."""
        arrived: tuple[Move | Onward, ...] = (move, *move.others)
        axes = {one.axes for one in arrived if one.map.scale.size > 1}
        if axes - {(_axis(move.node),)}:
            return (move.onward(_of_all(move), move.node.output),)
        maps = [
            move.map_of(source).broadcast(size)
            for source, size in zip(
                move.node.inputs, _branch_sizes(move.node, _axis(move.node)), strict=True
            )
        ]
        joined = ChannelMap(
            np.concatenate([one.scale for one in maps]),
            np.concatenate([one.shift for one in maps]),
        )
        return (move.onward(joined, move.node.output, (_axis(move.node),)),)


def _place(one: Move | Onward) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where the channels of a map are."""
    return one.axes, one.map.scale.shape


def _of_all(move: Move) -> ChannelMap:
    """Return the map that all branches have, whose channels are not those that are joined."""
    alike = all(_place(one) == _place(move) for one in move.others)
    maps = [move.map_of(source) for source in move.node.inputs]
    if not alike or not all(_equal(one, move.map) for one in maps):
        raise FoldRefused(
            f"{move.node.name} joins it with something else that has the same channels"
        )
    return move.map


def _equal(one: ChannelMap, other: ChannelMap) -> bool:
    return np.array_equal(one.scale, other.scale) and np.array_equal(one.shift, other.shift)


def _axis(node: Node) -> int:
    assert isinstance(node.operation, Concat), "a rule is asked about its own operation"
    return node.operation.axis


def _branch_sizes(node: Node, axis: int) -> list[int]:
    """Return how many channels each branch has."""
    sizes = [source.size(axis) for source in node.inputs]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise FoldRefused(
            f"{node.name} joins branches of unknown size; export the network with fixed "
            "numbers of channels"
        )
    return known


def _check_channels(move: Move) -> None:
    """Refuse a sum that broadcasts the channels; where sizes are unknown, the layers know them."""
    values = (*move.node.inputs, move.node.output)
    ranks = {value.rank for value in values} - {None}
    sizes = [{value.size(axis) for value in values} - {None} for axis in move.axes]
    if len(ranks) > 1 or (not move.is_uniform and any(len(one) > 1 for one in sizes)):
        raise FoldRefused(f"{move.node.name} adds tensors with different channels")
