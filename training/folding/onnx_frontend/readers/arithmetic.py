"""Sums, and constants that are added or multiplied."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import (
    Affine,
    Offset,
    Operation,
    Sum,
)
from training.folding.onnx_frontend.readers.context import (
    Context,
    rank_of,
    size_of,
)


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
    rank = rank_of(data)
    subtracts = node.op_type == "Sub" and node.inputs[0] is data
    if rank is None or constant.ndim > rank or not (node.op_type == "Add" or subtracts):
        return None
    if data is None or data.dtype is None:
        return None
    values = -constant if subtracts else constant
    return Offset(values.reshape((1,) * (rank - values.ndim) + values.shape), data.dtype.numpy())


def _axis_of(constant: NDArray[np.float64], data: ir.Value | None) -> int | None:
    """Return the axis of `data` along which a constant varies; 1 if it is a single number."""
    if constant.size == 1 and constant.ndim <= (rank_of(data) or 0 if constant.ndim else 0):
        return 1
    rank = rank_of(data)
    if rank is None or constant.ndim > rank:
        return None
    axes = [rank - constant.ndim + i for i, size in enumerate(constant.shape) if size != 1]
    if len(axes) != 1 or axes[0] == 0 or size_of(data, axes[0]) != constant.size:
        return None
    return axes[0]


def _sum(node: ir.Node) -> Operation | None:
    """All inputs have one rank: axes may broadcast, the rules look at those of the channels."""
    ranks = {rank_of(value) for value in node.inputs}
    return Sum() if len(ranks) == 1 and None not in ranks else None


def sum_(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Any number of tensors."""
    return _sum(node) if len(indices) == len(node.inputs) > 1 else None
