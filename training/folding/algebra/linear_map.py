"""Convolutions, transposed convolutions and dense layers as one thing: y = W x + b.

With the axes of W named o (output channels), i (input channels) and k (kernel positions), a map
per channel is absorbed exactly

    backward, from the output   s (W x + b) + t   W'_oik = s_o W_oik   b'_o = s_o b_o + t_o
    forward, from the input     W (s x + t) + b   W'_oik = W_oik s_i   b'_o = b_o + sum_ik W_oik t_i

where every output sums over all kernel positions. That holds for a dense layer, and for a
convolution without padding; zero padding breaks the second row at the border.

Any number of maps may be absorbed: their factors are kept apart, in float64, and the weights are
computed and rounded once, at the end, a few rows at a time.

Reference:
    Jacob et al. 2018, arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.rounding import largest, rounded

Kind = Literal["conv", "conv_transpose", "dense"]
CHUNK_ELEMENTS = 1 << 22  # of float64 at a time: 32 MiB


@dataclass(eq=False)
class LinearMap:
    """One layer that is linear in its input.

    What a front end writes back, of each layer that has `changed`: `rounded_weight()`, of the
    shape that the layer had; `rounded_bias()`, which a layer without one may have been given; and
    `padding`, which is zero on every axis once a `BorderPad` stands before the layer.

    Attributes:
        kind: `conv` has weights (O, I/groups, *kernel), `conv_transpose` (I, O/groups, *kernel),
            `dense` (O, I) and acts on the last axis.
        read_weight: returns the weights as they were, in the layout of `kind` and their own dtype.
        dtype: of the weights when they are written.
        weight_shape: in the layout of `kind`.
        bias: (O,) float64, None where the layer has none.
        groups: of a convolution.
        pads: whether a convolution pads with zeros, so that the border sees other sums.
        strides, dilations, padding: of a convolution; padding as (before, after) for each axis,
            None where it depends on the input's size.
        locked: why the weights must not be changed, None where they may.
        shared: who else reads the weights, None where nobody does: a change needs a private copy.
        changed: whether the weights, the bias or the padding are others than they were.
    """

    kind: Kind
    read_weight: Callable[[], NDArray[np.floating]]
    dtype: np.dtype
    weight_shape: tuple[int, ...]
    bias: NDArray[np.float64] | None = None
    groups: int = 1
    pads: bool = False
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] | None = None
    locked: str | None = None
    shared: str | None = None
    changed: bool = False
    _output_scale: NDArray[np.float64] | None = field(default=None, repr=False)
    _input_scale: NDArray[np.float64] | None = field(default=None, repr=False)
    _largest: float | None = field(default=None, repr=False)
    _sum: tuple[NDArray[np.float64], NDArray[np.float64]] | None = field(default=None, repr=False)

    @property
    def channels_in(self) -> int:
        """Number of input channels."""
        if self.kind == "conv_transpose":
            return self.weight_shape[0]
        return self.weight_shape[1] * self.groups

    @property
    def channels_out(self) -> int:
        """Number of output channels."""
        if self.kind == "conv_transpose":
            return self.weight_shape[1] * self.groups
        return self.weight_shape[0]

    @property
    def is_scaled(self) -> bool:
        """Whether the weights are others than `read_weight` returns."""
        return self._output_scale is not None or self._input_scale is not None

    def check_backward(self, map_: ChannelMap) -> None:
        """Refuse a map of the layer's output that cannot be absorbed in its dtype.

        Raises:
            FoldRefused: the channels do not match, or a weight or the bias would overflow.
        """
        map_ = map_.broadcast(self.channels_out)
        self._check_range(_product(self._output_scale, map_.scale), self._input_scale)
        self.check_bias(map_.scale * self._bias() + map_.shift)

    def absorb_backward(self, map_: ChannelMap) -> None:
        """Become this layer followed by the map."""
        map_ = map_.broadcast(self.channels_out)
        self.bias = map_.scale * self._bias() + map_.shift
        self._output_scale = _product(self._output_scale, map_.scale)
        self._sum, self.changed = None, True

    def check_forward(self, map_: ChannelMap) -> None:
        """Refuse a map of the layer's input that cannot be absorbed in its dtype.

        Raises:
            FoldRefused: the channels do not match, or a weight or the bias would overflow.
        """
        map_ = map_.broadcast(self.channels_in)
        self._check_range(self._output_scale, _product(self._input_scale, map_.scale))
        if map_.shifts:
            self.check_bias(self._bias() + self._sum_over_inputs(map_.shift))

    def absorb_forward(self, map_: ChannelMap) -> None:
        """Become the map followed by this layer; what padding adds is the caller's to rule out."""
        map_ = map_.broadcast(self.channels_in)
        if map_.shifts:
            self.bias = self._bias() + self._sum_over_inputs(map_.shift)
        self._input_scale = _product(self._input_scale, map_.scale)
        self._sum, self.changed = None, True

    def check_weight(self, read_weight: Callable[[], NDArray[np.float64]]) -> None:
        """Refuse other weights that overflow the layer's dtype.

        Raises:
            FoldRefused: one would.
        """
        dataclasses.replace(
            self, read_weight=read_weight, _output_scale=None, _input_scale=None, _largest=None
        )._check_range(None, None)

    def check_bias(self, bias: NDArray[np.float64]) -> None:
        """Refuse a bias that overflows the layer's dtype.

        Raises:
            FoldRefused: it would.
        """
        top, limit = float(np.abs(bias).max(initial=0.0)), largest(self.dtype)
        if not top <= limit:
            raise FoldRefused(
                f"a folded bias would be {top:.3g}, and {self.dtype} ends at {limit:.3g}; "
                "fold it in a wider type"
            )

    def replace(
        self, read_weight: Callable[[], NDArray[np.float64]], bias: NDArray[np.float64] | None
    ) -> None:
        """Take other weights of the same shape, and another bias."""
        self.read_weight, self.bias = read_weight, bias
        self._output_scale = self._input_scale = self._largest = self._sum = None
        self.changed = True

    def weight(self) -> NDArray[np.float64]:
        """Return the weights with all that was absorbed, in float64."""
        weight = np.empty(self.weight_shape)
        for chunk, rows in self._rows():
            weight[chunk] = rows
        return weight

    def rounded_weight(self) -> NDArray[np.floating]:
        """Return the weights with all that was absorbed, rounded once to their dtype."""
        weight = np.empty(self.weight_shape, self.dtype)
        for chunk, rows in self._rows():
            weight[chunk] = rounded(rows, self.dtype)
        return weight

    def rounded_bias(self) -> NDArray[np.floating] | None:
        """Return the bias rounded once to the dtype of the weights, None where there is none."""
        return None if self.bias is None else rounded(self.bias, self.dtype)

    def private_copy(self) -> LinearMap:
        """Return a layer with the same weights that may be changed on its own."""
        return dataclasses.replace(self, shared=None)

    def _bias(self) -> NDArray[np.float64]:
        return np.zeros(self.channels_out) if self.bias is None else self.bias

    def _chunks(self) -> Iterator[tuple[slice, NDArray[np.floating]]]:
        """Yield the weights as they were, a few rows of axis 0 at a time."""
        weight = self.read_weight()
        rows = max(1, CHUNK_ELEMENTS // max(1, int(np.prod(weight.shape[1:]))))
        for start in range(0, len(weight), rows):
            chunk = slice(start, min(start + rows, len(weight)))
            yield chunk, weight[chunk]

    def _rows(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield the current weights, a few rows of axis 0 at a time."""
        for chunk, values in self._chunks():
            rows = values.astype(np.float64)
            if self._output_scale is not None:
                rows *= self._along_outputs(self._output_scale, chunk)
            if self._input_scale is not None:
                rows *= self._along_inputs(self._input_scale, chunk)
            yield chunk, rows

    def _along_outputs(self, factor: NDArray[np.float64], chunk: slice) -> NDArray[np.float64]:
        """Return a factor per output channel, shaped to multiply rows of the weights."""
        if self.kind == "conv_transpose":
            return self._per_group(factor, chunk)
        return self._trailing(factor[chunk, None])

    def _along_inputs(self, factor: NDArray[np.float64], chunk: slice) -> NDArray[np.float64]:
        """Return a factor per input channel, shaped to multiply rows of the weights."""
        if self.kind == "conv_transpose":
            return self._trailing(factor[chunk, None])
        return self._per_group(factor, chunk)

    def _per_group(self, factor: NDArray[np.float64], chunk: slice) -> NDArray[np.float64]:
        """Return for each row the factors of axis 1, which are those of the row's own group."""
        return self._trailing(factor.reshape(self.groups, -1)[self._group_of(chunk)])

    def _group_of(self, chunk: slice) -> NDArray[np.intp]:
        """Return the group of each of some rows of axis 0."""
        return np.arange(chunk.start, chunk.stop) * self.groups // self.weight_shape[0]

    def _trailing(self, factor: NDArray[np.float64]) -> NDArray[np.float64]:
        return factor.reshape(factor.shape + (1,) * (len(self.weight_shape) - 2))

    def _sum_over_inputs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_ik W_oik values_i, (O,) float64; a check and its fold compute it once."""
        if self._sum is None or not np.array_equal(self._sum[0], values):
            self._sum = values, self._summed(values)
        return self._sum[1]

    def _summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(self.channels_out)
        for chunk, rows in self._rows():
            rows *= self._along_inputs(values, chunk)
            kernel = tuple(range(2, rows.ndim))
            if self.kind == "conv_transpose":
                sums = rows.sum(axis=kernel)  # (rows, O/groups)
                np.add.at(total.reshape(self.groups, -1), self._group_of(chunk), sums)
            else:
                total[chunk] = rows.sum(axis=(1, *kernel))
        return total

    def _largest_weight(self) -> float:
        """Return the largest absolute weight as it was; not a number if one is none."""
        if self._largest is None:
            tops = [np.abs(values).max(initial=0) for _, values in self._chunks()]
            self._largest = float(np.max(np.array(tops, np.float64), initial=0.0))
        return self._largest

    def _check_range(
        self, output_scale: NDArray[np.float64] | None, input_scale: NDArray[np.float64] | None
    ) -> None:
        """Refuse factors that make a weight infinite in its dtype."""
        limit = largest(self.dtype)
        top = self._largest_weight()
        if not np.isfinite(top):
            raise FoldRefused("its weights are not all finite")
        for factor in (output_scale, input_scale):
            top *= 1.0 if factor is None else float(np.abs(factor).max(initial=0.0))
        if top <= limit:
            return
        grown = dataclasses.replace(self, _output_scale=output_scale, _input_scale=input_scale)
        top = max(float(np.abs(rows).max(initial=0.0)) for _, rows in grown._rows())
        if not top <= limit:
            raise FoldRefused(
                f"a folded weight would be {top:.3g}, and {self.dtype} ends at {limit:.3g}; "
                "fold it in a wider type"
            )


def _product(first: NDArray[np.float64] | None, second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array(second) if first is None else first * second
