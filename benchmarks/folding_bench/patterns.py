"""One small network for each pattern that a batch norm is found in.

Weights and statistics are random, scales of both signs unless the pattern needs others. `exact`
says whether the batch norm can go without changing anything but rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Pattern:
    """A network, what it takes, and whether its batch norms can go."""

    name: str
    build: Build
    shape: tuple[int, ...]
    exact: bool = True
    note: str = ""
    positive: bool = False  # whether all scales are
    flat: bool = False  # whether some variances are zero


class Chain(nn.Sequential):
    """Layers one after the other."""


class Shared(nn.Module):
    """A convolution that is called twice, once before a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs of both calls."""
        y: torch.Tensor = self.conv(torch.relu(self.norm(self.conv(x))))
        return y


class TwoReaders(nn.Module):
    """A convolution whose output is read beside its batch norm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both together."""
        y = self.conv(x)
        return torch.relu(self.norm(y)) + torch.relu(y)


class SharedNorm(nn.Module):
    """One batch norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return both branches together."""
        return torch.relu(self.norm(self.one(x))) + torch.relu(self.norm(self.two(x)))


class Joined(nn.Module):
    """Two convolutions, added or put side by side, then a batch norm."""

    def __init__(self, *, concatenated: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.concatenated = concatenated
        self.norm = nn.BatchNorm2d(8 if concatenated else 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized sum or concatenation."""
        parts = [self.one(x), self.two(x)]
        y: torch.Tensor = torch.cat(parts, 1) if self.concatenated else parts[0] + parts[1]
        normalized: torch.Tensor = self.norm(y)
        return normalized


class PreActivation(nn.Module):
    """A residual sum whose one branch is not linear, then a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what follows the normalized sum."""
        y: torch.Tensor = self.head(torch.relu(self.norm(torch.relu(x) + self.conv(x))))
        return y


class Branches(nn.Module):
    """A block of RepVGG: 3x3, 1x1 and identity, each with its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = Chain(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.narrow = Chain(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.identity = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of the branches."""
        x = torch.relu(x)
        return torch.relu(self.wide(x) + self.narrow(x) + self.identity(x))


class Functional(nn.Module):
    """A batch norm by function call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized convolution."""
        n = self.norm
        return functional.batch_norm(
            self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, eps=n.eps
        )


class Spelled(nn.Module):
    """A batch norm written out with its constants, as frozen ones are."""

    mean: torch.Tensor
    var: torch.Tensor
    gamma: torch.Tensor
    beta: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        randomize(norm)
        assert norm.running_mean is not None, "it tracks its statistics"
        assert norm.running_var is not None, "it tracks its statistics"
        vectors = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        for name, vector in zip(("mean", "var", "gamma", "beta"), vectors, strict=True):
            self.register_buffer(name, vector.detach().reshape(1, 4, 1, 1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized convolution."""
        y: torch.Tensor = (self.conv(x) - self.mean) / torch.sqrt(self.var + 1e-5)
        return y * self.gamma + self.beta


class Pixels(nn.Module):
    """Pixels over 255, mean and standard deviation, then a convolution without padding."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26]).reshape(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalized convolution of normalized pixels."""
        y: torch.Tensor = self.norm(self.conv((x / 255 - self.mean) / self.std))
        return y


def randomize(
    norm: nn.modules.batchnorm._BatchNorm, *, positive: bool = False, flat: bool = False
) -> None:
    """Give a batch norm statistics and parameters as training might."""
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 3)
        if flat:
            norm.running_var[::2] = 0
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.3, 1.7)
        if not positive:
            with torch.no_grad():
                norm.weight[::2] *= -1
        nn.init.normal_(norm.bias)


def built(pattern: Pattern, seed: int = 0) -> nn.Module:
    """Return a pattern's network in inference mode, the same for the same seed."""
    torch.manual_seed(seed)
    network = pattern.build()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            randomize(module, positive=pattern.positive, flat=pattern.flat)
    return network.eval()


def _hooked() -> nn.Module:
    network = Chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network[0].register_forward_hook(lambda _module, _inputs, output: torch.relu(output))
    return network


def _weight_normed() -> nn.Module:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    return Chain(conv, nn.BatchNorm2d(4))


def _chain(*layers: Callable[[], nn.Module]) -> Build:
    return lambda: Chain(*(layer() for layer in layers))


def conv(*arguments: int, **options: object) -> Callable[[], nn.Module]:
    """Return what makes a two-dimensional convolution."""
    return lambda: nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]


def norm(channels: int, kind: type[nn.Module] = nn.BatchNorm2d, **options: object) -> Build:
    """Return what makes a batch norm."""
    return lambda: kind(channels, **options)


IMAGE = (3, 3, 9, 9)
PATTERNS = (
    Pattern("Conv1d → BN", _chain(lambda: nn.Conv1d(3, 4, 3), norm(4, nn.BatchNorm1d)), (3, 3, 9)),
    Pattern("Conv2d → BN", _chain(conv(3, 4, 3, padding=1), norm(4)), IMAGE),
    Pattern(
        "Conv3d → BN",
        _chain(lambda: nn.Conv3d(3, 4, 3), norm(4, nn.BatchNorm3d)),
        (3, 3, 5, 5, 5),
    ),
    Pattern("grouped Conv → BN", _chain(conv(4, 6, 3, groups=2), norm(6)), (3, 4, 9, 9)),
    Pattern("depthwise Conv → BN", _chain(conv(4, 4, 3, groups=4), norm(4)), (3, 4, 9, 9)),
    Pattern(
        "ConvTranspose → BN",
        _chain(lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), norm(6)),
        (3, 4, 5, 5),
    ),
    Pattern(
        "ConvTranspose, groups → BN",
        _chain(lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), norm(6)),
        (3, 4, 5, 5),
    ),
    Pattern("Linear → BN", _chain(lambda: nn.Linear(5, 4), norm(4, nn.BatchNorm1d)), (3, 5)),
    Pattern(
        "Linear without bias → BN",
        _chain(lambda: nn.Linear(5, 4, bias=False), norm(4, nn.BatchNorm1d)),
        (3, 5),
    ),
    Pattern(
        "Linear → BN, affine=False",
        _chain(lambda: nn.Linear(5, 4), norm(4, nn.BatchNorm1d, affine=False)),
        (3, 5),
    ),
    Pattern(
        "Linear → BN on (N, C, L)",
        _chain(lambda: nn.Linear(5, 5), norm(5, nn.BatchNorm1d)),
        (3, 5, 5),
        exact=False,
        note="Linear acts on the last axis, BN on the second",
    ),
    Pattern(
        "ReLU → BN → Linear",
        _chain(nn.ReLU, norm(5, nn.BatchNorm1d), lambda: nn.Linear(5, 4)),
        (3, 5),
    ),
    Pattern("ReLU → BN → Conv, no padding", _chain(nn.ReLU, norm(3), conv(3, 4, 3)), IMAGE),
    Pattern(
        "ReLU → BN → Conv, zero padding",
        _chain(nn.ReLU, norm(3), conv(3, 4, 3, padding=1)),
        IMAGE,
        note="with an explicit border",
    ),
    Pattern(
        "ReLU → BN → Conv, reflect padding",
        _chain(nn.ReLU, norm(3), conv(3, 4, 3, padding=1, padding_mode="reflect")),
        IMAGE,
    ),
    Pattern(
        "ReLU → BN → Conv, replicate padding",
        _chain(nn.ReLU, norm(3), conv(3, 4, 3, padding=1, padding_mode="replicate")),
        IMAGE,
    ),
    Pattern(
        "ReLU → BN → Conv, circular padding",
        _chain(nn.ReLU, norm(3), conv(3, 4, 3, padding=1, padding_mode="circular")),
        IMAGE,
    ),
    Pattern(
        "Conv → MaxPool → BN, scales ≥ 0",
        _chain(conv(3, 4, 3), lambda: nn.MaxPool2d(2), norm(4)),
        IMAGE,
        positive=True,
    ),
    Pattern(
        "Conv → MaxPool → BN, a scale < 0",
        _chain(conv(3, 4, 3), lambda: nn.MaxPool2d(2), norm(4), nn.ReLU),
        IMAGE,
        exact=False,
        note="the maximum becomes a minimum",
    ),
    Pattern(
        "Conv → AvgPool → BN",
        _chain(conv(3, 4, 3), lambda: nn.AvgPool2d(2), norm(4)),
        IMAGE,
    ),
    Pattern(
        "Conv → AvgPool, zeros counted → BN",
        _chain(conv(3, 4, 3), lambda: nn.AvgPool2d(3, 2, 1), norm(4), nn.ReLU),
        IMAGE,
        exact=False,
        note="the shift is attenuated at the border",
    ),
    Pattern(
        "Conv → ReLU → BN → ReLU",
        _chain(conv(3, 4, 3), nn.ReLU, norm(4), nn.ReLU),
        IMAGE,
        exact=False,
        note="nothing linear on either side",
    ),
    Pattern(
        "Conv → Flatten → BN → Linear",
        _chain(conv(3, 4, 3), nn.Flatten, norm(196, nn.BatchNorm1d), lambda: nn.Linear(196, 5)),
        IMAGE,
    ),
    Pattern("Conv + Conv → BN", lambda: Joined(concatenated=False), IMAGE),
    Pattern("Concat of Convs → BN", lambda: Joined(concatenated=True), IMAGE),
    Pattern(
        "ReLU + Conv → BN → ReLU",
        PreActivation,
        IMAGE,
        exact=False,
        note="one branch is not linear",
    ),
    Pattern("RepVGG branches, identity BN", Branches, (3, 4, 9, 9)),
    Pattern("Conv → BN → BN", _chain(conv(3, 4, 3), norm(4), norm(4)), IMAGE),
    Pattern("Conv with two readers → BN", TwoReaders, IMAGE, note="exact with a copy of the Conv"),
    Pattern("Conv called twice → BN", Shared, IMAGE, note="exact with a copy of the Conv"),
    Pattern("BN shared by two Convs", SharedNorm, IMAGE),
    Pattern("F.batch_norm", Functional, IMAGE),
    Pattern("BN spelled out", Spelled, IMAGE),
    Pattern("/255, mean, std → Conv → BN", Pixels, IMAGE),
    Pattern("Conv → SyncBatchNorm", _chain(conv(3, 4, 3), norm(4, nn.SyncBatchNorm)), IMAGE),
    Pattern("weight norm Conv → BN", _weight_normed, IMAGE),
    Pattern("Conv → BN, variances of zero", _chain(conv(3, 4, 3), norm(4)), IMAGE, flat=True),
    Pattern(
        "forward hook between",
        _hooked,
        IMAGE,
        exact=False,
        note="the hook sees the unfolded output",
    ),
    Pattern(
        "BN without statistics",
        _chain(conv(3, 4, 3), norm(4, track_running_stats=False)),
        IMAGE,
        exact=False,
        note="it normalizes with each batch's own",
    ),
)
