"""The algebra of folding, in float64.

In inference mode a batch norm is an affine map per channel:

    scale = gamma / sqrt(running_var + eps)
    shift = beta - running_mean * scale
    bn(y) = scale * y + shift

Behind a linear map y = W x + b it is therefore absorbed exactly:

    W' = scale * W        along the axis of the output channels
    b' = scale * b + shift

Reference:
    Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 2;
    Jacob et al. 2018, arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FoldRefused(Exception):  # noqa: N818 - a refusal by design is not an error
    """This batch norm must stay; the message is the reason."""


@dataclass(frozen=True)
class BatchNormStats:
    """What a batch norm applies in inference mode: four vectors (C,) float64, and eps."""

    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]
    running_mean: NDArray[np.float64]
    running_var: NDArray[np.float64]
    eps: float


def fold_scale(norm: BatchNormStats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift (C,) float64 of the map that this batch norm applies.

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
    return scale, norm.beta - norm.running_mean * scale


def fold_linear_map(
    weight: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    norm: BatchNormStats,
    channel_axis: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and bias, float64, of the linear map followed by the batch norm.

    weight has its output channels on `channel_axis`; bias is (C,), None means zero.

    Raises:
        FoldRefused: see `fold_scale`; or the channel counts differ.
    """
    scale, shift = fold_scale(norm)
    channels = weight.shape[channel_axis]
    if channels != scale.size:
        raise FoldRefused(f"the layer has {channels} output channels, the batch norm {scale.size}")
    along_channels = [1] * weight.ndim
    along_channels[channel_axis] = channels
    folded_bias = shift if bias is None else scale * bias + shift
    return weight * scale.reshape(along_channels), folded_bias
