"""`linear → bn` and `bn → linear`: the map ends in the weights of the layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.folding.affine import FoldRefused
from training.folding.graph import BorderPad, Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.folding.affine import ChannelMap
    from training.folding.graph import Graph, Node
    from training.folding.linear_map import LinearMap
    from training.folding.rules import Move, Onward


class BehindLinear:
    """W' = s W, b' = s b + t."""

    pattern = "linear → bn"
    operation = Linear
    side = "behind"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what is not on the layer's output channels."""
        layer = _layer(move, graph)
        _check_axis(move, layer)
        layer.check_behind(move.map)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Absorb the map."""
        _linear(move.node).absorb_behind(move.map)


class BeforeLinear:
    """W' = W s, b' = b + W t; a border of zeros becomes one of -t / s, which the map sends to 0."""

    pattern = "bn → linear"
    operation = Linear
    side = "before"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse what is not on the layer's input channels, or differs at the border."""
        layer = _layer(move, graph)
        _check_axis(move, layer)
        if move.map.shifts and layer.kind == "conv_transpose":
            raise FoldRefused(
                f"{move.node.name} is a transposed convolution: a shift would reach its border "
                "and its overlaps unevenly"
            )
        if _needs_border(move, layer):
            _check_border(move, layer)
        layer.check_before(move.map)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Absorb the map, and have the border padded with what it sends to zero."""
        layer = _linear(move.node)
        if _needs_border(move, layer):
            assert layer.padding is not None, "checked before"
            whole = move.map.broadcast(layer.channels_in)
            graph.insert_before(move.node, BorderPad(layer.padding, border_values(whole)))
            layer.padding = tuple((0, 0) for _ in layer.padding)
            layer.pads = False
        layer.absorb_before(move.map)


def border_values(whole: ChannelMap) -> NDArray[np.float64]:
    """Return -shift / scale, (C,) float64: what the map sends to zero; 0 where it is zero itself."""
    divisor = np.where(whole.scale == 0, 1.0, whole.scale)
    return np.where(whole.shift == 0, 0.0, -whole.shift / divisor)


def _linear(node: Node) -> LinearMap:
    assert isinstance(node.operation, Linear), "a rule is asked about its own operation"
    return node.operation.map


def _layer(move: Move, graph: Graph) -> LinearMap:
    """Return the layer, if its weights may be changed."""
    layer = _linear(move.node)
    if layer.locked is not None:
        raise FoldRefused(layer.locked)
    if layer.shared is not None and not graph.clones:
        raise FoldRefused(
            f"{move.node.name} shares its weights with {layer.shared}; --clone gives it its own"
        )
    return layer


def _check_axis(move: Move, layer: LinearMap) -> None:
    if move.is_uniform:
        return
    if layer.kind != "dense":
        if move.axis != 1:
            raise FoldRefused(
                f"{move.node.name} has its channels on axis 1, the batch norm on {move.axis}"
            )
        return
    rank = move.value.rank
    if rank is None:
        raise FoldRefused(f"the rank of {move.value.name} is not known")
    if move.axis != rank - 1:
        raise FoldRefused(
            f"{move.node.name} acts on the last axis of a tensor of rank {rank}, the batch norm "
            f"on axis {move.axis}"
        )


def _needs_border(move: Move, layer: LinearMap) -> bool:
    return layer.kind == "conv" and layer.pads and move.map.shifts


def _check_border(move: Move, layer: LinearMap) -> None:
    if not move.origin_is_norm:
        raise FoldRefused(f"{move.node.name} pads with zeros, which a shift does not keep")
    if layer.padding is None:
        raise FoldRefused(f"{move.node.name} pads by an amount that depends on the input's size")
    whole = move.map.broadcast(layer.channels_in)
    stuck = np.flatnonzero((whole.scale == 0) & (whole.shift != 0))
    if stuck.size:
        raise FoldRefused(
            f"{move.node.name} pads with zeros, and the scale of channels "
            f"{', '.join(map(str, stuck[:8]))} is zero: no border value would be sent to zero"
        )
