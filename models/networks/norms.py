"""The normalizations that the Keras CNN can be built with, one of them on purpose a bad one.

    none         nothing
    batch        batch norm
    noisy-batch  batch norm, followed in training by noise that undoes what it did to the
                 distributions: shifted and scaled anew in every step
    group        group norm over `groups` groups of channels
    layer        layer norm over all channels and positions of an image, scaled per channel

Reference:
    Ioffe and Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450; Wu and He 2018,
    arXiv:1803.08494; the noise: Santurkar et al. 2018, arXiv:1805.11604, section 2.2.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

Norm = Literal["none", "batch", "noisy-batch", "group", "layer"]
NORMS: tuple[Norm, ...] = get_args(Norm)

# The noise of one step: each channel draws a mean and a deviation, each value a sample of them.
NOISE_MEAN = 0.5  # largest, in deviations of the normalized channel
NOISE_DEVIATION = 1.25  # largest; the smallest is 1
NOISE_JITTER = 0.1  # by which single values leave the channel's draw


class ActivationNoise(nn.Module):
    """Scale and shift the channels of (N, C, ...) by noise drawn anew in every training step.

    Inference is the identity. The noise is drawn from torch's default generator, as dropout's.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return s x + m: m and s of each value around a mean and a deviation of its channel."""
        if not self.training:
            return features
        channel = (1, features.shape[1], *([1] * (features.dim() - 2)))
        mean = features.new_empty(channel).uniform_(-NOISE_MEAN, NOISE_MEAN)
        deviation = features.new_empty(channel).uniform_(1, NOISE_DEVIATION)
        shift = mean + torch.empty_like(features).uniform_(-NOISE_JITTER, NOISE_JITTER)
        scale = deviation + NOISE_JITTER * torch.randn_like(features)
        return scale * features + shift


def norm_layers(
    kind: Norm, layer: nn.Conv2d | nn.Linear, *, momentum: float, eps: float, groups: int
) -> list[tuple[str, nn.Module]]:
    """Return what normalizes a layer's output, each with the suffix of its name.

    Raises:
        TypeError: the channels cannot be divided into that many groups.
    """
    channels = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    if kind == "none":
        return []
    if kind == "group" and channels % groups:
        raise TypeError(
            f"groups = {groups} must divide {channels}, a layer's channels; take one of "
            f"{', '.join(str(n) for n in range(1, channels + 1) if channels % n == 0)}"
        )
    if kind == "group":
        return [("gn", nn.GroupNorm(groups, channels, eps=eps))]
    if kind == "layer":
        return [("ln", nn.GroupNorm(1, channels, eps=eps))]
    batch_norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
    norm: list[tuple[str, nn.Module]] = [("bn", batch_norm(channels, eps=eps, momentum=momentum))]
    return norm if kind == "batch" else [*norm, ("noise", ActivationNoise())]
