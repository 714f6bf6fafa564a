# mypy: disable-error-code="override,no-any-return,no-untyped-call"
"""A model computed in float64 by the reference implementation of ONNX.

That one is written to be read. Its convolutions and pools visit every output in turn, so they are
computed here one kernel position at a time instead, each of them a matrix product or a maximum of
whole tensors. What these do not cover goes back to ONNX's. Four operators are here since ONNX's
reference implementation has forms of them wrong. It looks for none of these in functions, so those
are inlined.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19
from onnx.reference.ops.op_batch_normalization import (
    BatchNormalization_14 as SlowBatchNormalization,
)
from onnx.reference.ops.op_conv import Conv as SlowConv
from onnx.reference.ops.op_conv_transpose import ConvTranspose as SlowConvTranspose
from onnx.reference.ops.op_loop import Loop as StrictLoop
from onnx.reference.ops.op_max_pool import MaxPool as SlowMaxPool
from onnx.reference.ops.op_pad import Pad_18 as SlowPad
from onnx_ir.passes import common

from training.errors import GraphError
from training.evaluation.onnx_runner import first_line
from training.folding.onnx_frontend.constants import missing_operators
from training.folding.proof.running.precision import in_float64

Array = NDArray[Any]


class Reference:
    """A model in float64. Its weights are given to it like inputs, so that they are there once.

    Attributes:
        outputs: names, in the order of what `run` returns.

    Raises:
        GraphError: an operator has no reference implementation.
    """

    def __init__(self, model: ir.Model) -> None:
        exact = in_float64(model)
        common.InlinePass()(exact)
        self.outputs = [str(value.name) for value in exact.graph.outputs]
        constants = dict(exact.graph.initializers)
        self._weights = {
            name: value.const_value.numpy()
            for name, value in constants.items()
            if value.const_value is not None
        }
        exact.graph.initializers.clear()
        try:
            skeleton = ir.to_proto(exact)
            given = {one.name for one in skeleton.graph.input}
            skeleton.graph.input.extend(
                onnx.ValueInfoProto(name=name) for name in self._weights if name not in given
            )
            missing = missing_operators(model.opset_imports.get("", 1))
            self._evaluator = ReferenceEvaluator(skeleton, new_ops=[*OPERATORS, *missing])
            _forget_in_time(self._evaluator, {*self._weights, *self.outputs})
        except Exception as error:  # its exceptions share no other base
            raise GraphError(f"no reference implementation: {first_line(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> list[Any]:
        """Return the outputs; floating-point inputs are converted.

        Raises:
            GraphError: the model cannot be computed on these inputs.
        """
        exact = {
            name: array.astype(np.float64) if _is_float(array) else array
            for name, array in feeds.items()
        }
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # means of nothing, where a size came out as 0
                results = self._evaluator.run(None, self._weights | exact)
        except Exception as error:
            reason = first_line(error)
            raise GraphError(f"ONNX's reference cannot compute it: {reason}") from error
        return [one if one is None or isinstance(one, list) else np.asarray(one) for one in results]


class _Forget:
    """Stands between the nodes of an evaluator, and drops tensors that nobody reads any more."""

    op_type, input, output, has_linked_attribute = "Forget", (), (), False

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def need_context(self) -> bool:
        """Ask for all tensors that there are."""
        return True

    def run(self, context: dict[str, Any], **_: object) -> tuple[()]:
        """Drop them."""
        for name in self._names:
            context.pop(name, None)
        return ()


def _forget_in_time(evaluator: ReferenceEvaluator, kept: set[str]) -> None:
    """Have an evaluator drop each tensor after its last reader: it keeps them all to the end."""
    nodes: list[Any] = []
    seen = {"", *kept}
    for node in reversed(evaluator.rt_nodes_):
        last = {*node.output, *_read_by(node.onnx_node)} - seen
        seen |= last
        nodes += [_Forget(last), node] if last else [node]
    evaluator.rt_nodes_[:] = reversed(nodes)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node and the bodies in it read."""
    names = set(node.input)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            names |= {str(output.name) for output in body.output}
            for inner in body.node:
                names |= _read_by(inner)
    return names


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


class Conv(SlowConv):
    """y_o = b_o + sum_ik W_oik x_i(k), one position k of the kernel at a time."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:
        axes = w.ndim - 2
        pads = _pads(attributes, axes, x.shape[2:], w.shape[2:])
        if pads is None:
            return super()._run(x, w, b, **attributes)
        groups = attributes.get("group") or 1
        steps, dilations = _steps(attributes, axes)
        padded = np.pad(x, [(0, 0), (0, 0), *pads])
        total: Any = 0
        for position, window in _windows(padded, w.shape[2:], steps, dilations):
            total = total + _mixed(window, _at(w, position), groups)
        return (total if b is None else total + b.reshape(1, -1, *(1,) * axes),)


def _mixed(x: Array, weight: Array, groups: int) -> Array:
    """Return the product of weights (O, I/groups) with channels (N, I, *S), as (N, O, *S)."""
    count, channels, *sizes = x.shape
    grouped = x.reshape(count, groups, channels // groups, -1)
    matrices = weight.reshape(groups, len(weight) // groups, -1)
    product = matrices * grouped if channels == groups else matrices @ grouped
    return product.reshape(count, len(weight), *sizes)


class ConvTranspose(SlowConvTranspose):
    """Every input adds W x to the outputs that it reaches, one kernel position at a time."""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:
        axes, groups = w.ndim - 2, attributes.get("group") or 1
        steps, dilations = _steps(attributes, axes)
        extra = attributes.get("output_padding") or (0,) * axes
        rows = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
        weight = rows.reshape(-1, w.shape[0] // groups, *w.shape[2:])  # (O, I/groups, *kernel)
        sizes = [
            (size - 1) * step + (kernel - 1) * dilation + 1 + more
            for size, step, kernel, dilation, more in zip(
                x.shape[2:], steps, w.shape[2:], dilations, extra, strict=True
            )
        ]
        pads = _cut(attributes, sizes, x.shape[2:], steps)
        full = np.zeros((len(x), len(weight), *sizes), x.dtype)
        for position in itertools.product(*map(range, w.shape[2:])):
            reached: tuple[Any, ...] = tuple(
                slice(at * dilation, at * dilation + (size - 1) * step + 1, step)
                for at, dilation, size, step in zip(
                    position, dilations, x.shape[2:], steps, strict=True
                )
            )
            full[:, :, *reached] += _mixed(x, _at(weight, position), groups)
        cut: tuple[Any, ...] = tuple(
            slice(low, size - high) for (low, high), size in zip(pads, sizes, strict=True)
        )
        kept = full[:, :, *cut]
        return (kept if b is None else kept + b.reshape(1, -1, *(1,) * axes),)


def _cut(
    attributes: Mapping[str, Any], full: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what a transposed convolution drops of each axis, before and after."""
    mode, wanted = _text(attributes.get("auto_pad")), attributes.get("output_shape")
    if wanted is None and mode in ("", "NOTSET"):
        return _explicit(attributes, len(full))
    if wanted is None:
        wanted = [n * s for n, s in zip(sizes, steps, strict=True)] if mode != "VALID" else full
    totals = [whole - kept for whole, kept in zip(full, wanted, strict=True)]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if mode == "SAME_UPPER" else [(high, low) for low, high in halves]


class Pad(SlowPad):
    """Padding in every form that the operator had; ONNX's forgets the value of old ones."""

    def _run(self, data: Array, *inputs: Array | None, **attributes: Any) -> tuple[Array]:
        pads, value, axes = (*inputs, None, None, None)[:3]
        amounts = [int(one) for one in (attributes["pads"] if pads is None else pads)]
        chosen = range(data.ndim) if axes is None else [int(axis) % data.ndim for axis in axes]
        number = attributes.get("value") or 0 if value is None else np.reshape(value, -1)[0]
        borders = [(0, 0)] * data.ndim
        for place, axis in enumerate(chosen):
            borders[axis] = (amounts[place], amounts[place + len(chosen)])
        cropped = data[
            tuple(
                slice(max(0, -low), size - max(0, -high))
                for (low, high), size in zip(borders, data.shape, strict=True)
            )
        ]
        widths = [(max(0, low), max(0, high)) for low, high in borders]
        mode = _text(attributes.get("mode")) or "constant"
        if mode == "constant":
            return (np.pad(cropped, widths, constant_values=number),)
        repeated: Array = np.pad(cropped, widths, mode=cast("Any", mode))
        return (repeated,)


class BatchNormalization(SlowBatchNormalization):
    """Batch norm; ONNX's takes that of opsets 9 to 13 for one in train mode."""

    def _run(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, **attributes: Any
    ) -> tuple[Array, ...]:
        if attributes.get("training_mode"):
            return super()._run(x, gamma, beta, mean, var, **attributes)
        spread = np.sqrt(var + attributes["epsilon"])
        columns = [v.reshape(-1, *(1,) * (x.ndim - 2)) for v in (gamma / spread, mean, beta)]
        return (columns[0] * (x - columns[1]) + columns[2],)


class MaxPool(SlowMaxPool):
    """The largest input of each window, one position at a time."""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:
        kernel = attributes["kernel_shape"]
        pads = _pads(attributes, len(kernel), x.shape[2:], kernel)
        if pads is None or len(self.onnx_node.output) > 1:
            return super()._run(x, **attributes)
        ceiled = _extra(attributes, x.shape[2:], pads)
        padded = np.pad(
            x, [(0, 0), (0, 0), *_sum_of(pads, ceiled)], constant_values=_lowest(x.dtype)
        )
        windows = _windows(padded, kernel, *_steps(attributes, len(kernel)))
        largest = None
        for _, window in windows:
            largest = window if largest is None else np.maximum(largest, window)
        assert largest is not None, "a kernel has a position"
        return (np.ascontiguousarray(largest),)


class AveragePool(AveragePool_19):
    """The sum of each window over how many of its inputs count."""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array, ...]:
        kernel = attributes["kernel_shape"]
        pads = _pads(attributes, len(kernel), x.shape[2:], kernel)
        if pads is None:
            return super()._run(x, **attributes)
        ceiled = _extra(attributes, x.shape[2:], pads)
        counts = np.ones((1, 1, *x.shape[2:]), x.dtype)
        outside = 1.0 if attributes.get("count_include_pad") else 0.0
        steps = _steps(attributes, len(kernel))
        total: Any = 0
        number: Any = 0
        padded = np.pad(x, [(0, 0), (0, 0), *_sum_of(pads, ceiled)])
        counted = np.pad(counts, [(0, 0), (0, 0), *pads], constant_values=outside)
        counted = np.pad(counted, [(0, 0), (0, 0), *ceiled])  # never part of a mean
        for (_, window), (_, counting) in zip(
            _windows(padded, kernel, *steps), _windows(counted, kernel, *steps), strict=True
        ):
            total, number = total + window, number + counting
        return (total / number,)


class GlobalMaxPool(OpRun):
    """The largest input of each channel; ONNX's takes two axes, however many there are."""

    def _run(self, x: Array) -> tuple[Array]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class Loop(StrictLoop):
    """A loop; ONNX's takes a condition that is not there for one that is false."""

    def _run(
        self, rounds: Array | None, goes_on: Array | None, *carried: Array, **attributes: Any
    ) -> tuple[Array, ...]:
        return super()._run(
            rounds, np.array(True) if goes_on is None else goes_on, *carried, **attributes
        )


OPERATORS: list[type[OpRun]] = [
    *(Conv, ConvTranspose, Pad, BatchNormalization, MaxPool, AveragePool, GlobalMaxPool, Loop)
]


def _windows(
    padded: Array, kernel: Sequence[int], steps: Sequence[int], dilations: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield each kernel position with what all windows see there, (N, C, *outputs)."""
    counts = [
        (size - (k - 1) * dilation - 1) // step + 1
        for size, k, dilation, step in zip(padded.shape[2:], kernel, dilations, steps, strict=True)
    ]
    for position in itertools.product(*map(range, kernel)):
        seen: tuple[Any, ...] = tuple(
            slice(at * dilation, at * dilation + (count - 1) * step + 1, step)
            for at, dilation, count, step in zip(position, dilations, counts, steps, strict=True)
        )
        yield position, padded[:, :, *seen]


def _at(weight: Array, position: tuple[Any, ...]) -> Array:
    """Return the weights (O, I/groups) of one kernel position."""
    return weight[:, :, *position]


def _steps(attributes: Mapping[str, Any], axes: int) -> tuple[Sequence[int], Sequence[int]]:
    ones = (1,) * axes
    return attributes.get("strides") or ones, attributes.get("dilations") or ones


def _explicit(attributes: Mapping[str, Any], axes: int) -> list[tuple[int, int]]:
    pads = attributes.get("pads") or (0,) * (2 * axes)
    return list(zip(pads[:axes], pads[axes:], strict=True))


def _pads(
    attributes: Mapping[str, Any], axes: int, sizes: Sequence[int], kernel: Sequence[int]
) -> list[tuple[int, int]] | None:
    """Return (before, after) for each axis; None for a mode that is left to ONNX's reference."""
    mode = _text(attributes.get("auto_pad"))
    if mode in ("", "NOTSET"):
        return _explicit(attributes, axes)
    if mode == "VALID":
        return [(0, 0)] * axes
    steps, dilations = _steps(attributes, axes)
    pads = []
    for size, k, step, dilation in zip(sizes, kernel, steps, dilations, strict=True):
        total = max(0, (-(-size // step) - 1) * step + (k - 1) * dilation + 1 - size)
        short, long = total // 2, total - total // 2
        pads.append((long, short) if mode == "SAME_LOWER" else (short, long))
    return pads


def _extra(
    attributes: Mapping[str, Any], sizes: Sequence[int], pads: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return what `ceil_mode` adds behind each axis, cropped where no window reaches.

    It rounds the number of windows up; one that would begin behind the input is left out.
    """
    kernel = attributes["kernel_shape"]
    if not attributes.get("ceil_mode"):
        return [(0, 0)] * len(kernel)
    steps, dilations = _steps(attributes, len(kernel))
    extra = []
    for size, (low, high), k, step, dilation in zip(
        sizes, pads, kernel, steps, dilations, strict=True
    ):
        reach = (k - 1) * dilation + 1
        count = -(-(low + size + high - reach) // step) + 1
        count -= (count - 1) * step >= low + size
        extra.append((0, max(0, (count - 1) * step + reach - low - size - high)))
    return extra


def _sum_of(
    pads: Sequence[tuple[int, int]], more: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    return [(a + c, b + d) for (a, b), (c, d) in zip(pads, more, strict=True)]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _lowest(dtype: np.dtype) -> float | int:
    return -np.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)
