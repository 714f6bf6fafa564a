"""Convolutions, transposed convolutions and matrix products whose weights are constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.linear_map import LinearMap
from training.folding.engine.graph import (
    Linear,
    Operation,
)
from training.folding.onnx_frontend.constants import is_quantized
from training.folding.onnx_frontend.readers.context import (
    Context,
    attribute,
    rank_of,
    size_of,
    text,
)


def convolution(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Conv and ConvTranspose whose weights are constants."""
    linear = _linear(node, indices, context)
    if linear is None or len(linear.weight_shape) < 3:
        return None
    linear.kind = "conv" if node.op_type == "Conv" else "conv_transpose"
    linear.groups = int(attribute(node, "group", 1))
    axes = len(linear.weight_shape) - 2
    bias = linear.channels_out if linear.bias is None else linear.bias.size
    if linear.weight_shape[0] % linear.groups or bias != linear.channels_out:
        return None  # no runtime runs it
    linear.strides = tuple(attribute(node, "strides", (1,) * axes))
    linear.dilations = tuple(attribute(node, "dilations", (1,) * axes))
    linear.padding = _padding(node, linear, axes)
    linear.pads = linear.padding is None or any(map(any, linear.padding))
    return Linear(linear)


def _padding(node: ir.Node, linear: LinearMap, axes: int) -> tuple[tuple[int, int], ...] | None:
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "VALID":
        return ((0, 0),) * axes
    if mode == "NOTSET":
        given = [int(pad) for pad in attribute(node, "pads", (0,) * (2 * axes))]
        return tuple(zip(given[:axes], given[axes:], strict=True))
    sizes = [size_of(node.inputs[0], 2 + axis) for axis in range(axes)]
    if node.op_type != "Conv":
        return None
    pads: list[tuple[int, int]] = []
    geometry = zip(sizes, linear.weight_shape[2:], linear.strides, linear.dilations, strict=True)
    for size, kernel, stride, dilation in geometry:
        if size is None and stride != 1:
            return None
        rest = 1 if size is None else (size - 1) % stride + 1  # of the input, in the last stride
        total = max(0, dilation * (kernel - 1) + 1 - rest)
        short, long = total // 2, total - total // 2
        pads.append((long, short) if mode == "SAME_LOWER" else (short, long))
    return tuple(pads)


def _linear(node: ir.Node, indices: list[int], context: Context) -> LinearMap | None:
    """Return a layer with the weights as they are in the graph, and its bias."""
    weight = node.inputs[1]
    if indices != [0] or weight is None or weight.dtype is None or weight.shape is None:
        return None
    if not weight.dtype.is_floating_point():
        return None
    if weight.const_value is None:
        context.constant(node, 1)  # refuses what cannot be computed
    stated = weight.shape if weight.const_value is None else weight.const_value.shape
    shape = tuple(size for size in stated if isinstance(size, int))
    if len(shape) != len(stated):
        return None
    bias = context.constant(node, 2)
    return LinearMap(
        kind="dense",
        read_weight=lambda: _as_stored(context, weight),
        dtype=weight.dtype.numpy(),
        weight_shape=shape,
        bias=None if bias is None else np.asarray(bias, np.float64),
        shared=_other_reader(node, weight),
        locked=_reason_to_stay(weight),
    )


def _other_reader(node: ir.Node, weight: ir.Value) -> str | None:
    """Return who else reads weights, None where nobody does."""
    if weight.is_graph_output():
        return "the outputs of the network"
    others = [use.node for use in weight.uses() if use.node is not node and _reads(use)]
    return (others[0].name or others[0].outputs[0].name) if others else None


def _reason_to_stay(weight: ir.Value) -> str | None:
    """Return why computed weights stay, None where they may change."""
    quantized = "its weights are quantized; fold the network before it is quantized"
    return quantized if is_quantized(weight) else None


def _reads(use: Any) -> bool:
    """Whether a use is of the numbers, and not of a size or a type."""
    kind = use.node.op_type
    return kind not in ("Shape", "Size") and (kind, use.idx) != ("CastLike", 1)


def _as_stored(context: Context, weight: ir.Value) -> NDArray[Any]:
    if weight.const_value is not None:
        return weight.const_value.numpy()
    return context.constants.array(weight)


def gemm(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Alpha A B' + beta C, with constant B and C."""
    linear = _linear(node, indices, context)
    if linear is None or attribute(node, "transA", 0) or len(linear.weight_shape) != 2:
        return None
    alpha, beta = (float(attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    read, transposed = linear.read_weight, bool(attribute(node, "transB", 0))
    if not transposed:
        linear.weight_shape = linear.weight_shape[::-1]
    linear.read_weight = lambda: _dense(read(), alpha, transposed)
    if linear.bias is not None:
        if linear.bias.size > 1 and linear.bias.shape[-1] != linear.bias.size:
            return None  # another one for each row
        linear.bias = beta * np.broadcast_to(linear.bias.reshape(-1), linear.channels_out)
    return Linear(linear)


def _dense(weight: NDArray[Any], alpha: float, transposed: bool) -> NDArray[Any]:
    scaled = weight if alpha == 1 else alpha * weight.astype(np.float64)
    return scaled if transposed else scaled.T


def matmul(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """X W, W a constant matrix; acts on the last axis."""
    linear = _linear(node, indices, context)
    if linear is None or len(linear.weight_shape) != 2 or (rank_of(node.inputs[0]) or 0) < 2:
        return None
    read = linear.read_weight
    linear.weight_shape = linear.weight_shape[::-1]
    linear.read_weight = lambda: read().T
    linear.bias = None
    return Linear(linear)
