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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


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
    """scale and shift, both (C,) float64; C = 1 stands for any number of channels."""

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
            raise FoldRefused(
                f"the layer has {channels} channels there, the map {self.scale.size}"
            )
        return ChannelMap(
            np.broadcast_to(self.scale, channels), np.broadcast_to(self.shift, channels)
        )

    def split(self, sizes: list[int]) -> Iterator[ChannelMap]:
        """Yield the maps of consecutive groups of channels."""
        ends = np.cumsum(sizes)
        whole = self.broadcast(int(ends[-1]))
        for end, size in zip(ends, sizes, strict=True):
            part = slice(end - size, end)
            yield ChannelMap(whole.scale[part], whole.shift[part])

    def without_shift(self) -> ChannelMap:
        """Return the map that only scales."""
        return ChannelMap(self.scale, np.zeros_like(self.shift))

    @property
    def shifts(self) -> bool:
        """Whether it adds anything at all."""
        return bool(self.shift.any())

    @property
    def largest_scale(self) -> float:
        """Largest absolute scale: how much an error before it grows."""
        return float(np.abs(self.scale).max())


def channel_map(norm: BatchNormStats) -> ChannelMap:
    """Return the map that a batch norm applies in inference mode.

    Raises:
        FoldRefused: a statistic is not finite, or a variance is negative.
    """
    for name in ("gamma", "beta", "running_mean", "running_var"):
        broken = np.flatnonzero(~np.isfinite(getattr(norm, name)))
        if broken.size:
            raise FoldRefused(f"{name} is not finite in channel {broken[0]}")
    negative = np.flatnonzero(norm.running_var < 0)
    if negative.size:
        value = norm.running_var[negative[0]]
        raise FoldRefused(f"running_var is {value:.3g} in channel {negative[0]}, below zero")
    variance = norm.running_var + norm.eps
    if not variance.all():
        raise FoldRefused("running_var + eps is zero, the scale would be infinite")
    scale = norm.gamma / np.sqrt(variance)
    return ChannelMap(scale, norm.beta - norm.running_mean * scale)
