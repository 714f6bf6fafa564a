"""Pooling, means, interpolation and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.engine.graph import (
    Average,
    Maximum,
    Operation,
    Pad,
)
from training.folding.onnx_frontend.readers.context import (
    Context,
    attribute,
    is_used,
    rank_of,
    size_of,
    text,
)


def max_pool(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Without the indices of the maxima."""
    return Maximum() if not any(is_used(output) for output in node.outputs[1:]) else None


def average_pool(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """A mean over a window; over zeros of the padding too if they count."""
    padded = any(attribute(node, "pads", ())) or text(node, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    )
    counts = bool(attribute(node, "count_include_pad", 0))
    return Average(counts and (padded or bool(attribute(node, "ceil_mode", 0))))


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
    rank = rank_of(node.inputs[0])
    axes = attribute(node, "axes", None)
    if axes is None:
        axes = context.constant(node, 1)
    if rank is None or axes is None or len(np.atleast_1d(axes)) == 0:
        return False
    return all(int(axis) % rank >= 2 for axis in np.atleast_1d(axes))


SIZES = 3  # the index of the sizes that Resize makes, which may be computed


def resize(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Interpolation, whose weights sum to 1, of axes after the channels."""
    rank = rank_of(node.inputs[0])
    mode = text(node, "mode", "nearest")
    crops = text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize"
    sizes = [size_of(value, 1) for value in (node.inputs[0], node.outputs[0])]
    same_channels = sizes[0] is not None and sizes[0] == sizes[1]
    if not {0} <= set(indices) <= {0, SIZES} or rank is None or rank < 3 or crops:
        return None
    if not same_channels:
        return None
    keeps_ratio = text(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
    if keeps_ratio or not _leaves_channels(node, rank, context):
        return None
    return Average() if mode in ("nearest", "linear", "cubic") else None


def _leaves_channels(node: ir.Node, rank: int, context: Context) -> bool:
    """Whether the scales of an interpolation, where it has any, are 1 along the channels."""
    axes = attribute(node, "axes", None)
    place = 1 if axes is None else next((i for i, a in enumerate(axes) if a % rank == 1), None)
    if place is None:
        return True
    named = attribute(node, "scales", None)  # before opset 9
    given = [context.constant(node, index) for index in range(1, min(SIZES, len(node.inputs)))]
    count = rank if axes is None else len(axes)
    scales = [one for one in given if one is not None and one.dtype.kind == "f"]
    vectors = [one for one in (*scales, named) if one is not None and len(one) == count]
    return all(float(one[place]) == 1.0 for one in vectors)


def pad(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes after the channels."""
    if indices != [0]:
        return None
    pads, rank = attribute(node, "pads", None), rank_of(node.inputs[0])
    if pads is None:
        pads = context.constant(node, 1)
    axes = context.constant(node, 3)
    if pads is None or rank is None:
        return None
    if axes is not None:
        pads = _on_all_axes([int(amount) for amount in pads], axes % rank, rank)
    if len(pads) != 2 * rank or any((pads[0], pads[1], pads[rank], pads[rank + 1])):
        return None
    if text(node, "mode", "constant") != "constant":
        return Pad(None)
    value = context.constant(node, 2)
    number = float(attribute(node, "value", 0.0) if value is None else value.reshape(-1)[0])
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
