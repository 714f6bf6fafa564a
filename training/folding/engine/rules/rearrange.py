"""Operations that only move numbers: the map moves with them.

Where the operation cuts some numbers off, and others read those, they keep what they have.
"""

from __future__ import annotations

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.layout import Layout
from training.folding.engine.graph import Graph, Node, Rearrange, Value
from training.folding.engine.rule import Move, Onward, Rule


class ForwardRearrange(Rule):
    """Each output gets the map of the numbers that it holds."""

    pattern = "bn → rearrange"
    operation = Rearrange
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what cannot be followed."""
        try:
            return tuple(
                move.onward(map_, value, axes)
                for value, map_, axes in _carried(move.node, move.map, move.axes)
            )
        except FoldRefused as refusal:
            raise FoldRefused(f"{move.node.name} {refusal}") from refusal


class BackwardRearrange(Rule):
    """The input gets the map for the numbers of this output."""

    pattern = "rearrange → bn"
    operation = Rearrange
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what cannot be followed."""
        (source,) = move.node.inputs
        layout = _layouts(move.node)[move.node.outputs.index(move.value)]
        alone = len(_used(move.node)) == 1 and len(source.consumers) + source.is_output == 1
        try:
            map_, axes = layout.backward(move.map, move.axes, alone=alone)
        except FoldRefused as refusal:
            raise FoldRefused(f"{move.node.name} {refusal}") from refusal
        return (move.onward(map_, source, axes),)


def spares(node: Node, map_: ChannelMap, axes: tuple[int, ...]) -> bool:
    """Return whether a map of what a node reads would change nothing that the node passes on."""
    if not isinstance(node.operation, Rearrange):
        return False
    try:
        return all(seen.is_identity for _, seen, _ in _carried(node, map_, axes))
    except FoldRefused:
        return False


def _carried(
    node: Node, map_: ChannelMap, axes: tuple[int, ...]
) -> list[tuple[Value, ChannelMap, tuple[int, ...]]]:
    """Return each output that somebody reads, with its map and axes."""
    return [
        (value, *layout.forward(map_, axes))
        for value, layout in zip(node.outputs, _layouts(node), strict=True)
        if value in _used(node)
    ]


def _layouts(node: Node) -> tuple[Layout, ...]:
    assert isinstance(node.operation, Rearrange), "a rule is asked about its own operation"
    return node.operation.layouts


def _used(node: Node) -> list[Value]:
    return [value for value in node.outputs if value.consumers or value.is_output]
