"""`linear → bn` and `bn → linear`: the map ends in the weights of the layer.

A layer that pads with zeros sees 0 at the border, and not t. Where the map goes into it, the
border is padded with -t / s instead, which the map sends to 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.linear_map import LinearMap
from training.folding.engine.graph import BorderPad, Graph, Linear, Node
from training.folding.engine.rule import Move, Onward, Rule
from training.folding.engine.rules.pads import moved_values


class BackwardLinear(Rule):
    """W' = s W, b' = s b + t."""

    pattern = "linear → bn"
    operation = Linear
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what is not on the layer's output channels."""
        layer = free_layer(move.node, graph)
        _check_axis(move, layer)
        _named(move.node, layer.check_backward, move.map)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Absorb the map."""
        linear_map(move.node).absorb_backward(move.map)


class ForwardLinear(Rule):
    """W' = W s, b' = b + W t; a border of zeros becomes one of -t / s, which the map sends to 0."""

    pattern = "bn → linear"
    operation = Linear
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what is not on the layer's input channels, or differs at the border."""
        layer = free_layer(move.node, graph)
        _check_axis(move, layer)
        if move.map.shifts and layer.kind == "conv_transpose":
            raise FoldRefused(
                f"{move.node.name} is a transposed convolution, where a shift would reach the "
                "border and the overlaps unevenly"
            )
        if _needs_border(move, layer):
            _check_border(move, layer)
        _named(move.node, layer.check_forward, move.map)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Absorb the map, and have the border padded with what it sends to zero."""
        layer = linear_map(move.node)
        if _needs_border(move, layer):
            assert layer.padding is not None, "checked before"
            graph.insert_before(move.node, BorderPad(layer.padding, _border_values(move, layer)))
            layer.padding = tuple((0, 0) for _ in layer.padding)
            layer.pads = False
        layer.absorb_forward(move.map)


def linear_map(node: Node) -> LinearMap:
    """Return the weights of a node that is a layer."""
    assert isinstance(node.operation, Linear), "a rule is asked about its own operation"
    return node.operation.map


def free_layer(node: Node, graph: Graph) -> LinearMap:
    """Return a layer whose weights may be changed.

    Raises:
        FoldRefused: they must not, or others read them.
    """
    layer = linear_map(node)
    if layer.locked is not None:
        raise FoldRefused(f"{node.name} must stay as it is: {layer.locked}")
    if len(node.inputs) != 1:
        raise FoldRefused(f"{node.name} reads {len(node.inputs)} tensors, and a layer reads one")
    if layer.shared is not None and not graph.clones:
        raise FoldRefused(
            f"{node.name} shares its weights with {layer.shared}; --clone gives it its own"
        )
    return layer


def check_on_axis(node: Node, layer: LinearMap, rank: int | None, axis: int) -> None:
    """Refuse a map on another axis than that of the layer's channels.

    Raises:
        FoldRefused: it is, or may be.
    """
    if layer.kind != "dense":
        if axis != 1:
            raise FoldRefused(f"{node.name} has its channels on axis 1, and the map on axis {axis}")
    elif rank is None:
        raise FoldRefused(
            f"{node.name} acts on the last axis, and the number of axes is not known; export the "
            "network with shapes"
        )
    elif axis != rank - 1:
        raise FoldRefused(
            f"{node.name} acts on the last of {rank} axes, and the map on axis {axis}"
        )


def _check_axis(move: Move, layer: LinearMap) -> None:
    if not move.is_uniform:
        check_on_axis(move.node, layer, move.value.rank, move.axis)


def _named(node: Node, check: Callable[[ChannelMap], None], map_: ChannelMap) -> None:
    """Put the layer's name before the reason of its refusal."""
    try:
        check(map_)
    except FoldRefused as refusal:
        raise FoldRefused(f"{node.name}: {refusal}") from refusal


def _needs_border(move: Move, layer: LinearMap) -> bool:
    return layer.kind == "conv" and layer.pads and move.map.shifts


def _border_values(move: Move, layer: LinearMap) -> NDArray[np.float64]:
    """Return -t / s, (C,) float64."""
    return moved_values(move, np.zeros(layer.channels_in), "forward", layer.dtype)


def _check_border(move: Move, layer: LinearMap) -> None:
    name = move.node.name
    if move.from_constants:
        raise FoldRefused(f"{name} pads with zeros, which a shift does not keep")
    if layer.padding is None:
        raise FoldRefused(
            f"{name} pads by an amount that depends on the input's size; export the network with "
            "fixed sizes"
        )
    _border_values(move, layer)
