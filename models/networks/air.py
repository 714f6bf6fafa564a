"""The air networks: small all-convolutional networks that are fast to train and fold completely.

    whitening   conv 2x2 valid, 3 -> 24, its filters fixed to whiten patches - gelu
    group       conv 3x3 - pool 2 - bn - gelu - conv 3x3 - bn - gelu               (three of them)
                with three convolutions: ... - conv 3x3 - bn, plus the input of conv2 - gelu
    head        maximum over the map - linear, without bias

Every batch norm has its scale frozen at 1: per channel it is x / sqrt(var + eps) - a, which
increases with x. A maximum commutes with an increasing function,

    bn(maxpool(conv(x))) = maxpool(bn(conv(x))),

so the batch norm behind the pool folds into the convolution before it exactly, whatever was
learned. A learned scale could become negative, and the fold would turn the maximum into a minimum.

The network takes pixels in [0, 1]: the whitening carries the centring. It has no padding, so even
`/255` folds into it exactly at the borders.

Reference:
    K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, and
    github.com/KellerJordan/cifar10-airbench (MIT); patch whitening, frozen scales and the separate
    rate of the biases go back to D. Page, "How to Train Your ResNet", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from models.networks.limits import CLASSES, MOMENTA, check_count, check_number

WHITENING_SIDE = 2
WHITENING_CHANNELS = 2 * 3 * WHITENING_SIDE**2  # every direction of a patch, with both signs
GROUPS = 3


class AirNet(nn.Module):
    """Map images (N, 3, S, S) float32 in [0, 1] to logits (N, 10) float32, for any S of 16 or more.

    Arguments:
        widths: output channels of the three groups.
        depth: convolutions in a group, 2 or 3; with 3 the last is residual.
        momentum: weight of a new batch in the running statistics of the batch norms.

    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depth: int = 2,
        momentum: float = 0.1,
        num_classes: int = 10,
    ) -> None:
        widths = _checked_widths(widths)
        if depth not in (2, 3):
            raise TypeError(f"depth = {depth!r} must be 2 or 3")
        check_number("momentum", momentum, *MOMENTA)
        check_count("num_classes", num_classes, *CLASSES)
        super().__init__()
        self.whitening = nn.Conv2d(3, WHITENING_CHANNELS, WHITENING_SIDE)
        self.whitening.weight.requires_grad_(False)
        self.activation = nn.GELU()
        inputs = (WHITENING_CHANNELS, *widths)
        self.group1 = ConvGroup(inputs[0], inputs[1], depth, momentum)
        self.group2 = ConvGroup(inputs[1], inputs[2], depth, momentum)
        self.group3 = ConvGroup(inputs[2], inputs[3], depth, momentum)
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        features = self.activation(self.whitening(images))  # (N, 24, S - 1, S - 1)
        features = self.group3(self.group2(self.group1(features)))
        return cast("torch.Tensor", self.head(features.amax((2, 3))))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the weights: partial identity in the groups, a small normal in the head.

        The logits are sums over all of the last group's channels; a deviation of 1 / channels makes
        them start near zero at any width.
        """
        for group in (self.group1, self.group2, self.group3):
            group.initialize(generator)
        nn.init.normal_(self.head.weight, std=1 / self.head.in_features, generator=generator)

    @torch.no_grad()
    def set_whitening(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Fix the first layer's weight (24, 3, 2, 2); its bias (24,) starts here and is trained."""
        self.whitening.weight.copy_(weight)
        cast("nn.Parameter", self.whitening.bias).copy_(bias)


class ConvGroup(nn.Module):
    """Two or three convolutions of one width; the first is pooled before its batch norm."""

    def __init__(self, inputs: int, outputs: int, depth: int, momentum: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = frozen_scale_norm(outputs, momentum)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = frozen_scale_norm(outputs, momentum)
        self.activation = nn.GELU()
        self.residual = depth == 3
        if self.residual:
            self.conv3 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn3 = frozen_scale_norm(outputs, momentum)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H // 2, W // 2)."""
        pooled = self.activation(self.bn1(self.pool(self.conv1(features))))
        result = self.activation(self.bn2(self.conv2(pooled)))
        if self.residual:
            result = self.activation(self.bn3(self.conv3(result)) + pooled)
        return cast("torch.Tensor", result)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the filters, then let the first of them pass the input on unchanged."""
        for layer in self.children():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
                set_partial_identity(layer.weight)


def frozen_scale_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """Return a batch norm of which only the shift is trained; its scale is 1."""
    norm = nn.BatchNorm2d(channels, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm


@torch.no_grad()
def set_partial_identity(weight: torch.Tensor) -> None:
    """Make filter i of (C_out, C_in, H, W) copy input i, for i below C_in and C_out."""
    channels = min(weight.shape[:2])
    weight[:channels].zero_()
    middle = (weight.shape[2] // 2, weight.shape[3] // 2)
    weight[:channels, :, middle[0], middle[1]] = torch.eye(channels, weight.shape[1])


def _checked_widths(widths: Sequence[int]) -> tuple[int, ...]:
    sound = isinstance(widths, list | tuple) and len(widths) == GROUPS
    if not sound:
        raise TypeError(f"widths = {widths!r} must be three integers, one for each group")
    for n, width in enumerate(widths):
        check_count(f"widths[{n}]", width, 1, 8192)
    return tuple(widths)
