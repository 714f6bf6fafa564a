"""What each ONNX operator is to folding; None where it is opaque.

Specification: https://onnx.ai/onnx/operators, opsets 7 to 23 and the older forms of batch norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import BatchNormStats, ChannelMap, FoldRefused, channel_map
from training.folding.algebra.linear_map import LinearMap
from training.folding.engine.graph import (
    Affine,
    Average,
    Concat,
    KeptNorm,
    Linear,
    Maximum,
    Norm,
    Offset,
    Operation,
    Pad,
    Same,
    Sum,
)
from training.folding.onnx_frontend.constants import Constants, is_quantized

EPSILON = float(np.float32(1e-5))  # of a batch norm that states none: attributes are float32


@dataclass(frozen=True)
class Context:
    """The graph that a node is in, and its constants."""

    graph: ir.Graph
    constants: Constants

    def constant(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Return an input of a node, None where it has none there.

        Raises:
            FoldRefused: it is there, but no constant, or cannot be computed.
        """
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if not self.constants.holds(value):
            raise FoldRefused(f"{value.name} is no constant")
        return self.constants.array(value)

    def known(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Return an input of a node where it is known; only for what holds for any other too."""
        try:
            return self.constant(node, index)
        except FoldRefused:
            return None


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _text(node: ir.Node, name: str, default: str) -> str:
    value = _attribute(node, name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _size(value: ir.Value | None, axis: int) -> int | None:
    if value is None or value.shape is None or axis >= len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def _used(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def batch_norm(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """Y = gamma (x - mean) / sqrt(var + eps) + beta, if it is in inference mode."""
    name = node.name or node.outputs[0].name or "BatchNormalization"
    sizes = [_size(value, 0) for value in node.inputs[1:]]
    norm = Norm(name, next((size for size in sizes if size is not None), 0))
    training = _attribute(node, "training_mode", 0) or any(_used(o) for o in node.outputs[1:])
    if training:
        return KeptNorm(
            norm,
            "it is in train mode (training_mode=1): it takes statistics of its own batch; export "
            "the network in inference mode",
        )
    if _attribute(node, "spatial", 1) == 0:
        return KeptNorm(norm, _of_positions(node))
    if indices != [0]:
        return KeptNorm(norm, _not_constant(node))
    if (_rank(node.inputs[0]) or 2) < 2:
        return KeptNorm(norm, "its input has no axis of channels")
    try:
        vectors = [context.constant(node, index) for index in range(1, 5)]
        gamma, beta, mean, var = (np.asarray(v, np.float64).reshape(-1) for v in vectors)
        stats = BatchNormStats(gamma, beta, mean, var, float(_attribute(node, "epsilon", EPSILON)))
        return Affine(1, channel_map(stats), (norm,))
    except FoldRefused as refusal:
        return KeptNorm(norm, str(refusal))


def _of_positions(node: ir.Node) -> str:
    """Return why a batch norm with spatial=0 stays."""
    reason = "it has a scale for each position (spatial=0)"
    if any(_rank(value) == 1 for value in node.inputs[1:]):
        reason += (
            ", and its parameters, of shape (C), are those of spatial=1: onnxruntime does not run "
            "it; set spatial to 1"
        )
    return reason


def _not_constant(node: ir.Node) -> str:
    """Return why the parameters of a batch norm are no constants, and the remedy."""
    for value in node.inputs[1:]:
        if value is not None and value.is_initializer() and value.is_graph_input():
            return (
                f"its parameters are no constants: {value.name} is an input as well, which callers "
                "may override; take it from the inputs of the graph"
            )
    return "its parameters are no constants of the graph; export the network with its weights"


def arithmetic(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """X + c, x - c, c - x, x * c and x / c, c a number or a vector along one axis; or a map."""
    if len(indices) == 2:
        return _sum(node) if node.op_type == "Add" else None
    if len(node.inputs) != 2 or len(indices) != 1:
        return None
    (index,) = indices
    constant = context.constant(node, 1 - index)
    if constant is None or constant.dtype != np.float64 or not np.isfinite(constant).all():
        return None
    axis = _axis_of(constant, node.inputs[index])
    if axis is None:
        return _offset(node, constant, node.inputs[index])
    vector = constant.reshape(-1)
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    match node.op_type, index:
        case "Add", _:
            return Affine(axis, ChannelMap(one, vector))
        case "Sub", 0:
            return Affine(axis, ChannelMap(one, -vector))
        case "Sub", _:
            return Affine(axis, ChannelMap(-one, vector))
        case "Mul", _:
            return Affine(axis, ChannelMap(vector, zero))
        case "Div", 0 if (np.abs(vector) > 1 / np.finfo(np.float64).max).all():
            return Affine(axis, ChannelMap(1 / vector, zero))
    return None


def negation(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """-x, a scale of -1."""
    data = node.inputs[0]
    if data is None or data.dtype is None or not data.dtype.is_floating_point():
        return None
    return Affine(1, ChannelMap(-np.ones(1), np.zeros(1)))


def _offset(
    node: ir.Node, constant: NDArray[np.float64], data: ir.Value | None
) -> Operation | None:
    """X + c and x - c, c along several axes."""
    rank = _rank(data)
    subtracts = node.op_type == "Sub" and node.inputs[0] is data
    if rank is None or constant.ndim > rank or not (node.op_type == "Add" or subtracts):
        return None
    if data is None or data.dtype is None:
        return None
    values = -constant if subtracts else constant
    return Offset(values.reshape((1,) * (rank - values.ndim) + values.shape), data.dtype.numpy())


def _axis_of(constant: NDArray[np.float64], data: ir.Value | None) -> int | None:
    """Return the axis of `data` along which a constant varies; 1 if it is a single number."""
    if constant.size == 1 and constant.ndim <= (_rank(data) or 0 if constant.ndim else 0):
        return 1
    rank = _rank(data)
    if rank is None or constant.ndim > rank:
        return None
    axes = [rank - constant.ndim + i for i, size in enumerate(constant.shape) if size != 1]
    if len(axes) != 1 or axes[0] == 0 or _size(data, axes[0]) != constant.size:
        return None
    return axes[0]


def _sum(node: ir.Node) -> Operation | None:
    """All inputs have one rank: axes may broadcast, the rules look at those of the channels."""
    ranks = {_rank(value) for value in node.inputs}
    return Sum() if len(ranks) == 1 and None not in ranks else None


def sum_(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Any number of tensors."""
    return _sum(node) if len(indices) == len(node.inputs) > 1 else None


def convolution(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Conv and ConvTranspose whose weights are constants."""
    linear = _linear(node, indices, context)
    if linear is None or len(linear.weight_shape) < 3:
        return None
    linear.kind = "conv" if node.op_type == "Conv" else "conv_transpose"
    linear.groups = int(_attribute(node, "group", 1))
    axes = len(linear.weight_shape) - 2
    bias = linear.channels_out if linear.bias is None else linear.bias.size
    if linear.weight_shape[0] % linear.groups or bias != linear.channels_out:
        return None  # no runtime runs it
    linear.strides = tuple(_attribute(node, "strides", (1,) * axes))
    linear.dilations = tuple(_attribute(node, "dilations", (1,) * axes))
    linear.padding = _padding(node, linear, axes)
    linear.pads = linear.padding is None or any(map(any, linear.padding))
    return Linear(linear)


def _padding(node: ir.Node, linear: LinearMap, axes: int) -> tuple[tuple[int, int], ...] | None:
    mode = _text(node, "auto_pad", "NOTSET")
    if mode == "VALID":
        return ((0, 0),) * axes
    if mode == "NOTSET":
        given = [int(pad) for pad in _attribute(node, "pads", (0,) * (2 * axes))]
        return tuple(zip(given[:axes], given[axes:], strict=True))
    sizes = [_size(node.inputs[0], 2 + axis) for axis in range(axes)]
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
    if linear is None or _attribute(node, "transA", 0) or len(linear.weight_shape) != 2:
        return None
    alpha, beta = (float(_attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    read, transposed = linear.read_weight, bool(_attribute(node, "transB", 0))
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
    if linear is None or len(linear.weight_shape) != 2 or (_rank(node.inputs[0]) or 0) < 2:
        return None
    read = linear.read_weight
    linear.weight_shape = linear.weight_shape[::-1]
    linear.read_weight = lambda: read().T
    linear.bias = None
    return Linear(linear)


def max_pool(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Without the indices of the maxima."""
    return Maximum() if not any(_used(output) for output in node.outputs[1:]) else None


def average_pool(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """A mean over a window; over zeros of the padding too if they count."""
    padded = any(_attribute(node, "pads", ())) or _text(node, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    )
    counts = bool(_attribute(node, "count_include_pad", 0))
    return Average(counts and (padded or bool(_attribute(node, "ceil_mode", 0))))


def global_max_pool(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """The largest of each channel."""
    return Maximum()


def global_average_pool(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """The mean of each channel."""
    return Average()


def reduction(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """The mean, sum or maximum over axes after the channels."""
    if 0 not in indices or not _after_channels(node, context):
        return None
    if node.op_type == "ReduceMax":
        return Maximum()
    return Average(attenuates=node.op_type == "ReduceSum")


def _after_channels(node: ir.Node, context: Context) -> bool:
    """Whether a node acts on axes that all come after the channels."""
    rank = _rank(node.inputs[0])
    axes = _attribute(node, "axes", None)
    if axes is None:
        axes = context.constant(node, 1)
    if rank is None or axes is None or len(np.atleast_1d(axes)) == 0:
        return False
    return all(int(axis) % rank >= 2 for axis in np.atleast_1d(axes))


SIZES = 3  # the index of the sizes that Resize makes, which may be computed


def resize(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Interpolation, whose weights sum to 1, of axes after the channels."""
    rank = _rank(node.inputs[0])
    mode = _text(node, "mode", "nearest")
    crops = _text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
    sizes = [_size(value, 1) for value in (node.inputs[0], node.outputs[0])]
    same_channels = sizes[0] is not None and sizes[0] == sizes[1]
    if not {0} <= set(indices) <= {0, SIZES} or rank is None or rank < 3 or crops:
        return None
    if not same_channels:
        return None
    keeps_ratio = _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
    if keeps_ratio or not _leaves_channels(node, rank, context):
        return None
    return Average() if mode in ("nearest", "linear", "cubic") else None


def _leaves_channels(node: ir.Node, rank: int, context: Context) -> bool:
    """Whether the scales of an interpolation, where it has any, are 1 along the channels."""
    axes = _attribute(node, "axes", None)
    place = 1 if axes is None else next((i for i, a in enumerate(axes) if a % rank == 1), None)
    if place is None:
        return True
    named = _attribute(node, "scales", None)  # before opset 9
    given = [context.constant(node, index) for index in range(1, min(SIZES, len(node.inputs)))]
    count = rank if axes is None else len(axes)
    scales = [one for one in given if one is not None and one.dtype.kind == "f"]
    vectors = [one for one in (*scales, named) if one is not None and len(one) == count]
    return all(float(one[place]) == 1.0 for one in vectors)


def identity(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """Its input."""
    return Same()


def dropout(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Nothing, in inference mode."""
    mode = context.constant(node, 2)
    trains = len(node.inputs) > 2 and node.inputs[2] is not None and (mode is None or mode.any())
    masks = any(_used(output) for output in node.outputs[1:])
    return None if trains or masks or indices != [0] else Same()


def cast(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Nothing, to the type that it has."""
    source = node.inputs[0]
    same = source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype
    return Same() if same else None


def pad(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes after the channels."""
    if indices != [0]:
        return None
    pads, rank = _attribute(node, "pads", None), _rank(node.inputs[0])
    if pads is None:
        pads = context.constant(node, 1)
    axes = context.constant(node, 3)
    if pads is None or rank is None:
        return None
    if axes is not None:
        pads = _on_all_axes([int(amount) for amount in pads], axes % rank, rank)
    if len(pads) != 2 * rank or any((pads[0], pads[1], pads[rank], pads[rank + 1])):
        return None
    if _text(node, "mode", "constant") != "constant":
        return Pad(None)
    value = context.constant(node, 2)
    number = float(_attribute(node, "value", 0.0) if value is None else value.reshape(-1)[0])
    amounts = [int(amount) for amount in pads]
    source = node.inputs[0]
    dtype = source.dtype.numpy() if source is not None and source.dtype is not None else None
    return Pad(number, tuple(zip(amounts[2:rank], amounts[rank + 2 :], strict=True)), dtype)


def _on_all_axes(pads: list[int], axes: NDArray[Any], rank: int) -> list[int]:
    """Return amounts for each axis, of amounts for some."""
    every = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        every[axis], every[rank + axis] = pads[place], pads[len(axes) + place]
    return every


def concat(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Side by side on one axis."""
    rank = _rank(node.inputs[0])
    axis = int(_attribute(node, "axis", 0))
    if rank is None or len(indices) != len(node.inputs):
        return None
    return Concat(axis % rank)


READERS: dict[str, Callable[[ir.Node, list[int], Context], Operation | None]] = {
    "BatchNormalization": batch_norm,
    "Add": arithmetic,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Neg": negation,
    "Sum": sum_,
    "Conv": convolution,
    "ConvTranspose": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduction,
    "ReduceSum": reduction,
    "ReduceMax": reduction,
    "Resize": resize,
    "Upsample": resize,
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
    "Pad": pad,
    "Concat": concat,
}
