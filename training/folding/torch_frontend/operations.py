"""What an operation does to channels, for everything that is neither a layer nor a batch norm."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from training.folding.algebra.affine import ChannelMap
from training.folding.algebra.reshaping import reshaped
from training.folding.engine.graph import (
    Affine,
    Average,
    Concat,
    Maximum,
    Opaque,
    Operation,
    Pad,
    Rearrange,
    Same,
    Sum,
)
from training.folding.torch_frontend.arrays import float64, numpy_dtype
from training.folding.torch_frontend.calls import Call
from training.folding.torch_frontend.capture.constants import Constants
from training.folding.torch_frontend.capture.observation import Observations

_MEAN_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


def operation_of(call: Call, constants: Constants, seen: Observations) -> Operation:
    """Return what folding may know of a call; `Opaque` where that is nothing."""
    reader = _reader(call)
    operation = reader(call, constants, seen) if reader and call.node in seen.shapes else None
    return operation or Opaque(call.kind)


def _reader(call: Call) -> Callable[..., Operation | None] | None:
    if call.module is not None:
        return next((r for kinds, r in _MODULES.items() if isinstance(call.module, kinds)), None)
    return _FUNCTIONS.get(call.function)


def _same(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    """What changes neither numbers nor their type."""
    source = call.node.args[0] if call.node.args else None
    same = isinstance(source, fx.Node) and seen.dtypes.get(source) == seen.dtypes[call.node]
    return Same() if same else None


def _dropout(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    return None if call.setting("training", True) else Same()


def _maximum(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    return Maximum() if _is_spatial(call, seen) else None


def _average(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    if not _is_spatial(call, seen):
        return None
    padding = call.setting("padding", 0)
    padded = any(padding) if isinstance(padding, tuple | list) else bool(padding)
    counts = call.setting("count_include_pad", True) and padded
    return Average(attenuates=bool(counts or call.setting("divisor_override")))


def _adaptive_average(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    return Average() if _is_spatial(call, seen) else None


def _interpolation(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    known = call.setting("mode", "nearest") in _MEAN_MODES
    return Average() if known and _is_spatial(call, seen) else None


def _reduction(operation: Callable[[], Operation]) -> Callable[..., Operation | None]:
    """Return what reads a mean or maximum over all axes after the channels, or some of them."""

    def read(call: Call, constants: Constants, seen: Observations) -> Operation | None:
        shape = _input_shape(call, seen)
        axes = call.setting("dim")
        axes = (axes,) if isinstance(axes, int) else axes
        if not axes or any(isinstance(axis, fx.Node) for axis in axes) or "dtype" in call.arguments:
            return None
        reduced = sorted(axis % len(shape) for axis in axes)
        trailing = reduced == list(range(reduced[0], len(shape)))
        kept = call.setting("keepdim", False)
        return operation() if reduced[0] >= 2 and (kept or trailing) else None

    return read


def _pad(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    mode, value = call.setting("mode", "constant"), call.setting("value")
    if isinstance(mode, fx.Node) or isinstance(value, fx.Node):
        return None
    return _padding(call, call.setting("pad"), value or 0, seen, constant=mode == "constant")


def _pad_module(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    constant = isinstance(call.module, nn.modules.padding._ConstantPadNd)
    value = call.setting("value", 0)
    return _padding(call, call.setting("padding"), value, seen, constant=constant)


def _padding(
    call: Call, sizes: object, value: float, seen: Observations, *, constant: bool
) -> Pad | None:
    """Return padding of the axes after the channels; None where it reaches others."""
    axes = len(_input_shape(call, seen)) - 2
    if not isinstance(sizes, tuple | list) or len(sizes) > 2 * axes:
        return None
    if not constant:
        return Pad(None)
    dtype = numpy_dtype(seen.dtypes[call.node])
    if any(isinstance(size, fx.Node) for size in sizes):
        return Pad(float(value), dtype=dtype)
    pairs = [(sizes[place], sizes[place + 1]) for place in range(0, len(sizes), 2)]
    pairs += [(0, 0)] * (axes - len(pairs))
    return Pad(float(value), tuple(reversed(pairs)), dtype)


def _reshape(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    """All axes after the batch become features, or batch and channels stay as they are."""
    before, after = _input_shape(call, seen), seen.shapes[call.node]
    if len(before) < 2 or len(after) < 2 or before[0] != after[0]:
        return None
    if len(after) == 2 < len(before):
        return Rearrange((reshaped(("N", *before[1:]), ("N", *after[1:])),))
    keeps = before[:2] == after[:2] and not _fixes_batch(call)
    return Average() if keeps else None  # each output is one input of its own channel


def _fixes_batch(call: Call) -> bool:
    """Return whether a `view` gives a number or -1 for the batch, which others may not have."""
    if call.kind not in ("view", "reshape"):
        return False
    sizes = call.node.args[1:] or (call.node.kwargs.get("shape"),)
    first = sizes[0][0] if isinstance(sizes[0], tuple | list) else sizes[0]
    return not isinstance(first, fx.Node)


def _concat(call: Call, constants: Constants, seen: Observations) -> Operation | None:
    tensors = call.node.args[0] if call.node.args else call.node.kwargs.get("tensors")
    axis = call.node.args[1] if len(call.node.args) > 1 else call.node.kwargs.get("dim", 0)
    if not isinstance(tensors, tuple | list) or not isinstance(axis, int):
        return None
    dtypes = {seen.dtypes.get(tensor) for tensor in tensors}
    if dtypes != {seen.dtypes[call.node]} or any(tensor in constants for tensor in tensors):
        return None
    return Concat(axis % len(seen.shapes[call.node]))


def _arithmetic(kind: str) -> Callable[..., Operation | None]:
    def read(call: Call, constants: Constants, seen: Observations) -> Operation | None:
        operands = [*call.node.args, *(v for k, v in call.node.kwargs.items() if k == "other")]
        options = {k: v for k, v in call.node.kwargs.items() if k != "other"}
        if len(operands) != 2 or set(options) - {"alpha"} or options.get("alpha", 1) != 1:
            return None
        return _sum_or_map(kind, operands, call.node, constants, seen)

    return read


def _sum_or_map(
    kind: str, operands: list[Any], node: fx.Node, constants: Constants, seen: Observations
) -> Operation | None:
    left, right = (_constant(operand, constants) for operand in operands)
    if left is None and right is None:
        shapes = {seen.shapes.get(operand) for operand in operands}
        dtypes = {seen.dtypes.get(operand) for operand in operands}
        alike = shapes == {seen.shapes[node]} and dtypes == {seen.dtypes[node]}
        return Sum() if kind == "add" and alike else None
    source, constant = (operands[0], right) if left is None else (operands[1], left)
    if constant is None or not _keeps(source, node, seen):
        return None
    found = _channels(constant, len(seen.shapes[node]))
    if found is None:
        return None
    axis, values = found
    map_ = _map(kind, values, constant_first=left is not None)
    return None if map_ is None else Affine(axis, map_)


def _map(kind: str, c: NDArray[np.float64], *, constant_first: bool) -> ChannelMap | None:
    """Return x kind c, or c kind x, as a map; None where it is none."""
    one, zero = np.ones_like(c), np.zeros_like(c)
    if kind == "mul":
        return ChannelMap(c, zero)
    if kind == "add":
        return ChannelMap(one, c)
    if kind == "sub":
        return ChannelMap(-one, c) if constant_first else ChannelMap(one, -c)
    return ChannelMap(one / c, zero) if not constant_first and c.all() else None


def _keeps(source: object, node: fx.Node, seen: Observations) -> bool:
    """Return whether a result has the shape and the float type of one of its operands."""
    return (
        isinstance(source, fx.Node)
        and seen.shapes.get(source) == seen.shapes[node]
        and seen.dtypes.get(source) == seen.dtypes[node]
        and seen.dtypes[node].is_floating_point
    )


def _constant(operand: object, constants: Constants) -> NDArray[np.float64] | None:
    if isinstance(operand, fx.Node):
        return float64(constants.tensor(operand)) if operand in constants else None
    return np.asarray(operand, dtype=np.float64) if isinstance(operand, int | float) else None


def _channels(constant: NDArray[np.float64], rank: int) -> tuple[int, NDArray[np.float64]] | None:
    """Return the one axis on which a constant varies, and its values there; None for several."""
    if not np.isfinite(constant).all():
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    if len(axes) > 1:
        return None
    return (axes[0] if axes else min(1, rank - 1)), constant.reshape(-1)


def _input_shape(call: Call, seen: Observations) -> tuple[int, ...]:
    source = call.node.args[0] if call.node.args else call.node.kwargs.get("input")
    assert isinstance(source, fx.Node), "the operation works on a tensor"
    return seen.shapes.get(source, ())


def _is_spatial(call: Call, seen: Observations) -> bool:
    """Return whether a pooling works on the axes after batch and channels, and no others."""
    if call.setting("return_indices", False):
        return False
    found = [dims for dims in (1, 2, 3) if f"{dims}d" in call.kind]
    rank = len(_input_shape(call, seen))
    return rank == found[0] + 2 if found else rank >= 3


_READERS: dict[Any, Callable[..., Operation | None]] = {
    "dropout": _dropout,
    "dropout1d": _dropout,
    "dropout2d": _dropout,
    "dropout3d": _dropout,
    "alpha_dropout": _dropout,
    "feature_alpha_dropout": _dropout,
    "interpolate": _interpolation,
    "mean": _reduction(Average),
    "amax": _reduction(Maximum),
    "pad": _pad,
    "cat": _concat,
    "concat": _concat,
    "concatenate": _concat,
    **dict.fromkeys(("clone", "detach", "contiguous", "to", "float", "half", "double"), _same),
    **dict.fromkeys(("flatten", "reshape", "view", "squeeze", "unsqueeze"), _reshape),
    **{f"{prefix}max_pool{dims}d": _maximum for prefix in ("", "adaptive_") for dims in (1, 2, 3)},
    **{f"avg_pool{dims}d": _average for dims in (1, 2, 3)},
    **{f"adaptive_avg_pool{dims}d": _adaptive_average for dims in (1, 2, 3)},
    **{
        name: _arithmetic(kind)
        for kind, names in {
            "add": ("add", "iadd"),
            "sub": ("sub", "subtract", "isub"),
            "mul": ("mul", "multiply", "imul"),
            "div": ("div", "divide", "true_divide", "truediv", "itruediv"),
        }.items()
        for name in names
    },
}
# Methods by their name, functions by every address that torch and Python give them.
_FUNCTIONS: dict[Any, Callable[..., Operation | None]] = {**_READERS}
_FUNCTIONS |= {
    getattr(place, name): reader
    for name, reader in _READERS.items()
    for place in (functional, torch, operator)
    if hasattr(place, name) and getattr(place, name) is not operator.concat
}
_MODULES: dict[tuple[type[nn.Module], ...], Callable[..., Operation | None]] = {
    (nn.Identity,): _same,
    (nn.modules.dropout._DropoutNd,): _dropout,
    (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd): _maximum,
    (nn.modules.pooling._AvgPoolNd,): _average,
    (nn.modules.pooling._AdaptiveAvgPoolNd,): _adaptive_average,
    (nn.Upsample,): _interpolation,
    (nn.Flatten, nn.Unflatten): _reshape,
    (
        nn.modules.padding._ConstantPadNd,
        nn.modules.padding._ReflectionPadNd,
        nn.modules.padding._ReplicationPadNd,
        nn.modules.padding._CircularPadNd,
    ): _pad_module,
}
