"""Convolutions, transposed convolutions and dense layers as one thing: y = W x + b.

With the axes of W named o (output channels), i (input channels) and k (kernel positions), a map
per channel is absorbed exactly

    behind the layer    s (W x + b) + t       W'_oik = s_o W_oik      b'_o = s_o b_o + t_o
    before the layer    W (s x + t) + b       W'_oik = W_oik s_i      b'_o = b_o + sum_ik W_oik t_i

where every output sums over all kernel positions. That holds for a dense layer, and for a
convolution without padding; zero padding breaks the second row at the border.

Any number of maps may be absorbed: their factors are kept apart, in float64, and the weights are
computed and rounded once, at the end, a few output channels at a time.

Reference:
    Jacob et al. 2018, arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.folding.affine import ChannelMap, FoldRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Kind = Literal["conv", "conv_transpose", "dense"]
CHUNK_ELEMENTS = 1 << 22  # of float64 at a time: 32 MiB


@dataclass(eq=False)
class LinearMap:
    """One layer that is linear in its input.

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
    _behind: NDArray[np.float64] | None = field(default=None, repr=False)
    _before: NDArray[np.float64] | None = field(default=None, repr=False)

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

    def check_behind(self, behind: ChannelMap) -> None:
        """Refuse a map behind the layer that cannot be absorbed in its dtype.

        Raises:
            FoldRefused: the channels do not match, or a weight or the bias would overflow.
        """
        behind = behind.broadcast(self.channels_out)
        self._check_range(behind.scale, 1.0)
        self._check_bias(behind.scale * self._bias() + behind.shift)

    def absorb_behind(self, behind: ChannelMap) -> None:
        """Become this layer followed by the map."""
        behind = behind.broadcast(self.channels_out)
        self.bias = behind.scale * self._bias() + behind.shift
        self._behind = behind.scale * (1.0 if self._behind is None else self._behind)
        self.changed = True

    def check_before(self, before: ChannelMap) -> None:
        """Refuse a map before the layer that cannot be absorbed in its dtype.

        Raises:
            FoldRefused: the channels do not match, or a weight or the bias would overflow.
        """
        before = before.broadcast(self.channels_in)
        self._check_range(1.0, before.scale)
        if before.shifts:
            self._check_bias(self._bias() + self._sum_over_inputs(before.shift))

    def absorb_before(self, before: ChannelMap) -> None:
        """Become the map followed by this layer; what padding adds is the caller's to rule out."""
        before = before.broadcast(self.channels_in)
        if before.shifts:
            self.bias = self._bias() + self._sum_over_inputs(before.shift)
        self._before = before.scale * (1.0 if self._before is None else self._before)
        self.changed = True

    def weight(self) -> NDArray[np.float64]:
        """Return the weights with all that was absorbed, in float64."""
        return np.concatenate([rows for _, rows in self._rows()])

    def rounded_weight(self) -> NDArray[np.floating]:
        """Return the weights with all that was absorbed, rounded once to their dtype."""
        weight = np.empty(self.weight_shape, self.dtype)
        for part, rows in self._rows():
            weight[part] = rows
        return weight

    def replace(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Take other weights in the layout of `kind`, and another bias."""
        self.read_weight = lambda: weight
        self.weight_shape = weight.shape
        self.bias = bias
        self._behind = self._before = None
        self.changed = True

    def private_copy(self) -> LinearMap:
        """Return a layer with the same weights that may be changed on its own."""
        copy = LinearMap(**{name: getattr(self, name) for name in _COPIED})
        copy._behind, copy._before = self._behind, self._before
        return copy

    def _bias(self) -> NDArray[np.float64]:
        return np.zeros(self.channels_out) if self.bias is None else self.bias

    def _rows(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield the current weights a few rows of axis 0 at a time."""
        weight = self.read_weight()
        rows = max(1, CHUNK_ELEMENTS // max(1, int(np.prod(weight.shape[1:]))))
        for start in range(0, len(weight), rows):
            part = slice(start, min(start + rows, len(weight)))
            chunk = weight[part].astype(np.float64)
            if self._behind is not None:
                chunk *= self._along_outputs(self._behind, part)
            if self._before is not None:
                chunk *= self._along_inputs(self._before, part)
            yield part, chunk

    def _along_outputs(self, factor: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
        """Return a factor per output channel, shaped to multiply rows of the weights."""
        if self.kind == "conv_transpose":
            return self._per_group(factor, part)
        return self._trailing(factor[part, None])

    def _along_inputs(self, factor: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
        """Return a factor per input channel, shaped to multiply rows of the weights."""
        if self.kind == "conv_transpose":
            return self._trailing(factor[part, None])
        return self._per_group(factor, part)

    def _per_group(self, factor: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
        """Return for each row the factors of axis 1, which are those of the row's own group."""
        group = np.arange(part.start, part.stop) * self.groups // self.weight_shape[0]
        return self._trailing(factor.reshape(self.groups, -1)[group])

    def _trailing(self, factor: NDArray[np.float64]) -> NDArray[np.float64]:
        return factor.reshape(factor.shape + (1,) * (len(self.weight_shape) - 2))

    def _sum_over_inputs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sum_ik W_oik values_i, (O,) float64."""
        total = np.zeros(self.channels_out)
        for part, rows in self._rows():
            rows *= self._along_inputs(values, part)
            kernel = tuple(range(2, rows.ndim))
            if self.kind != "conv_transpose":
                total[part] = rows.sum(axis=(1, *kernel))
                continue
            group = np.arange(part.start, part.stop) * self.groups // self.weight_shape[0]
            np.add.at(total.reshape(self.groups, -1), group, rows.sum(axis=kernel))
        return total

    def _check_range(
        self, behind: NDArray[np.float64] | float, before: NDArray[np.float64] | float
    ) -> None:
        """Refuse factors that make a weight infinite in its dtype."""
        limit = _largest(self.dtype)
        factors = np.abs(np.outer(behind, before))
        if factors.max() <= 1 and self._behind is None and self._before is None:
            return
        grown = self.private_copy()
        grown._behind = behind * (np.ones(self.channels_out) if self._behind is None else self._behind)
        grown._before = before * (np.ones(self.channels_in) if self._before is None else self._before)
        largest = max(float(np.abs(rows).max(initial=0.0)) for _, rows in grown._rows())
        if not largest <= limit:
            raise FoldRefused(f"folded weights up to {largest:.3g} overflow {self.dtype}")

    def _check_bias(self, bias: NDArray[np.float64]) -> None:
        largest = float(np.abs(bias).max())
        if not largest <= _largest(self.dtype):
            raise FoldRefused(f"a folded bias of up to {largest:.3g} overflows {self.dtype}")


_COPIED = (
    "kind",
    "read_weight",
    "dtype",
    "weight_shape",
    "bias",
    "groups",
    "pads",
    "strides",
    "dilations",
    "padding",
    "locked",
)


def _largest(dtype: np.dtype) -> float:
    """Return the largest finite number; `ml_dtypes` knows those that numpy does not have."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).max)
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)
