"""Known architectures with random weights and statistics.

Most come from pytorchcv's definitions, as their papers describe them; RepVGG, a U-Net with
transposed convolutions and a network for sound, which it does not have, are written here.

Reference:
    Ding et al. 2021, arXiv:2101.03697; Ronneberger et al. 2015, arXiv:1505.04597;
    Dai et al. 2016, arXiv:1610.00087, M5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import nn

from benchmarks.folding_bench.patterns import randomize
from models.networks import build_network


@dataclass(frozen=True)
class Network:
    """An architecture and what it takes."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]


class RepVggBlock(nn.Module):
    """3x3, 1x1 and identity, each with its batch norm, then ReLU."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.narrow = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )
        same = channels_in == channels and stride == 1
        self.identity = nn.BatchNorm2d(channels) if same else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rectified sum of the branches."""
        y: torch.Tensor = self.wide(x) + self.narrow(x)
        return torch.relu(y if self.identity is None else y + self.identity(x))


def rep_vgg() -> nn.Module:
    """Return RepVGG-A0."""
    blocks: list[nn.Module] = [RepVggBlock(3, 48, 2)]
    channels = 48
    for width, depth in ((48, 2), (96, 4), (192, 14), (1280, 1)):
        for index in range(depth):
            blocks.append(RepVggBlock(channels, width, 2 if index == 0 else 1))
            channels = width
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))
    return nn.Sequential(*blocks, *head)


def _double(channels_in: int, channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for source in (channels_in, channels):
        layers += [nn.Conv2d(source, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Down and up again, with what was there before at each size; batch norms on the way up too."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        sources = (3, *widths[:-1])
        self.down = nn.ModuleList(_double(a, b) for a, b in zip(sources, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(a, b, 2, 2), nn.BatchNorm2d(b)) for a, b in pairs
        )
        self.join = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two scores for each pixel."""
        seen: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            seen.append(x)
        for up, join, before in zip(self.up, self.join, seen[-2::-1], strict=True):
            x = join(torch.cat([up(x), before], 1))
        y: torch.Tensor = self.head(x)
        return y


def m5() -> nn.Module:
    """Return M5, which hears 8,000 samples of sound."""
    layers: list[nn.Module] = []
    channels = 1
    for width, kernel, stride in ((128, 80, 4), (128, 3, 1), (256, 3, 1), (512, 3, 1)):
        layers += [
            nn.Conv1d(channels, width, kernel, stride),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.MaxPool1d(4),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(512, 10))


def air94() -> nn.Module:
    """Return the network of the recipe `air94`, half of its batch norms behind a pool."""
    return build_network("air", {"widths": [64, 256, 256]})


def from_pytorchcv(module: str, name: str, **options: object) -> Callable[[], nn.Module]:
    """Return what builds one of pytorchcv's networks."""

    def build() -> nn.Module:
        network: nn.Module = getattr(import_module(f"pytorchcv.models.{module}"), name)(**options)
        return network

    return build


def built(network: Network, seed: int = 0) -> nn.Module:
    """Return a network in inference mode, the same for the same seed.

    Scales near 1 keep signals as large as training would, through a hundred layers as well.
    """
    torch.manual_seed(seed)
    module = network.build()
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            randomize(one, positive=True)
            nn.init.uniform_(one.weight, 0.5, 1.2)
            nn.init.normal_(one.bias, std=0.2)
    return _calibrated(module, network.shape)


def _calibrated(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give every batch norm the statistics of noise, as training would have."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches
        norm.reset_running_stats()
    module.train()
    with torch.no_grad():
        module(torch.randn(4, *shape[1:]))
    return module.eval()


IMAGE = (1, 3, 224, 224)
NETWORKS = (
    Network("ResNet-18", from_pytorchcv("resnet", "resnet18"), IMAGE),
    Network("ResNet-50", from_pytorchcv("resnet", "resnet50"), IMAGE),
    Network("pre-activation ResNet-18", from_pytorchcv("preresnet", "preresnet18"), IMAGE),
    Network("MobileNetV2", from_pytorchcv("mobilenetv2", "mobilenetv2_w1"), IMAGE),
    Network("EfficientNet-B0", from_pytorchcv("efficientnet", "efficientnet_b0"), IMAGE),
    Network("DenseNet-121", from_pytorchcv("densenet", "densenet121"), IMAGE),
    Network("RegNetX-200MF", from_pytorchcv("regnet", "regnetx002"), IMAGE),
    Network("RepVGG-A0", rep_vgg, IMAGE),
    Network("U-Net, ConvTranspose", UNet, (1, 3, 128, 128)),
    Network("M5 (1-D audio)", m5, (1, 1, 8000)),
    Network("air94", air94, (1, 3, 32, 32)),
)
