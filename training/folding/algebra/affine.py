"""Affine maps per channel, y = scale * x + shift: what a batch norm is in inference mode.

    scale = gamma / sqrt(running_var + eps)
    shift = beta - running_mean * scale

Two in a row are one:

    s2 (s1 x + t1) + t2 = (s2 s1) x + (s2 t1 + t2)

Everything here is float64.

Reference:
    Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMED_CHANNELS = 8  # in a refusal; of more than that only the number is named


class FoldRefused(Exception):  # noqa: N818 - a refusal by design is not an error
    """This fold would not be exact, or not allowed; the message is the reason."""


@dataclass(frozen=True)
class BatchNormStats:
    """What a batch norm applies in inference mode: four vectors (C,) float64, and eps."""

    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]
    running_mean: NDArray[np.float64]
    running_var: NDArray[np.float64]
    eps: float


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """scale and shift, both (C,) float64; C = 1 stands for any number of channels.

    Channels that lie on several axes of a tensor have an axis here for each of them.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def after(self, first: ChannelMap) -> ChannelMap:
        """Return the map that does `first`, then this one."""
        return ChannelMap(self.scale * first.scale, self.scale * first.shift + self.shift)

    def broadcast(self, channels: int) -> ChannelMap:
        """Return the same map with one entry for each of `channels` channels.

        Raises:
            FoldRefused: it has another number of channels.
        """
        if self.scale.size not in (1, channels):
            raise FoldRefused(f"it has {self.scale.size} channels, and there are {channels} there")
        return ChannelMap(
            np.broadcast_to(self.scale, channels), np.broadcast_to(self.shift, channels)
        )

    def split(self, sizes: list[int]) -> Iterator[ChannelMap]:
        """Yield the maps of consecutive groups of channels.

        Raises:
            FoldRefused: the groups have another number of channels in all.
        """
        ends = np.cumsum(sizes)
        whole = self.broadcast(int(ends[-1]))
        for end, size in zip(ends, sizes, strict=True):
            chunk = slice(end - size, end)
            yield ChannelMap(whole.scale[chunk], whole.shift[chunk])

    def without_shift(self) -> ChannelMap:
        """Return the map that only scales."""
        return ChannelMap(self.scale, np.zeros_like(self.shift))

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return bool((self.scale == 1).all()) and not self.shifts

    @property
    def shifts(self) -> bool:
        """Whether it adds anything at all."""
        return bool(self.shift.any())

    @property
    def largest_scale(self) -> float:
        """Largest absolute scale: how much an error before it grows."""
        return float(np.abs(self.scale).max(initial=0.0))


def channel_map(norm: BatchNormStats) -> ChannelMap:
    """Return the map that a batch norm applies in inference mode.

    Raises:
        FoldRefused: the vectors differ in size, a statistic is not finite, a variance is negative,
            or the scale would not be finite.
    """
    sizes = {values.size for values in (norm.gamma, norm.beta, norm.running_mean, norm.running_var)}
    if len(sizes) > 1:
        raise FoldRefused(f"its vectors have {' and '.join(map(str, sorted(sizes)))} channels")
    for name in ("gamma", "beta", "running_mean", "running_var"):
        values = getattr(norm, name)
        broken = np.flatnonzero(~np.isfinite(values))
        if broken.size:
            raise FoldRefused(f"{name} is {values[broken[0]]} in {channels_named(broken)}")
    negative = np.flatnonzero(norm.running_var < 0)
    if negative.size:
        value = norm.running_var[negative[0]]
        raise FoldRefused(f"running_var is {value:.3g}, below zero, in {channels_named(negative)}")
    variance = norm.running_var + norm.eps
    flat = np.flatnonzero(~(variance > 0))
    if flat.size:
        raise FoldRefused(
            f"running_var + eps is {variance[flat[0]]:.3g} in {channels_named(flat)}, and the "
            "scale would be infinite"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        scale = norm.gamma / np.sqrt(variance)
        map_ = ChannelMap(scale, norm.beta - norm.running_mean * scale)
    wild = np.flatnonzero(~(np.isfinite(map_.scale) & np.isfinite(map_.shift)))
    if wild.size:
        raise FoldRefused(f"its scale or shift overflows float64 in {channels_named(wild)}")
    return map_


def channels_named(channels: NDArray[np.intp]) -> str:
    """Return channels as text: `channel 3`, `channels 3, 5`, `channels 0, 1, … (12 in all)`."""
    if channels.size == 1:
        return f"channel {channels[0]}"
    named = ", ".join(map(str, channels[:NAMED_CHANNELS]))
    more = f", … ({channels.size} in all)" if channels.size > NAMED_CHANNELS else ""
    return f"channels {named}{more}"
