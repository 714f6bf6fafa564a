"""Batch norms are known by what they compute: with forwards of their own, and frozen ones."""

import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.random_networks import TOLERANCE, batch_norms, image, largest_error, randomize
from training.folding.torch_frontend import fold_network

Seq = nn.Sequential
IMAGE = (2, 3, 9, 9)


class WithActivation(nn.BatchNorm2d):
    """Checks its input, normalizes, drops units and applies an activation, as timm's does."""

    def __init__(self, channels, activation=None, **options):
        super().__init__(channels, **options)
        self.drop = nn.Identity()
        self.act = activation or nn.ReLU(inplace=True)

    def forward(self, x):
        torch._assert(x.ndim == 4, f"expected 4D input (got {x.ndim}D input)")
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        by_batch = (
            True if self.training else (self.running_mean is None) and (self.running_var is None)
        )
        tracked = not self.training or self.track_running_stats
        x = functional.batch_norm(
            x,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            by_batch,
            factor,
            self.eps,
        )
        return self.act(self.drop(x))


class Inherited(nn.BatchNorm2d):
    """Lets torch normalize."""

    def forward(self, x):
        return torch.relu(super().forward(x))


class Inherited1d(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x).clamp(min=0)


class Inherited3d(nn.BatchNorm3d):
    def forward(self, input):
        return functional.silu(super().forward(input)) + 1


class Synchronized(nn.SyncBatchNorm):
    def forward(self, input):
        return functional.leaky_relu(nn.BatchNorm2d.forward(self, input), 0.1)


def patched():
    norm = nn.BatchNorm2d(8)
    norm.forward = types.MethodType(lambda self, x: -nn.BatchNorm2d.forward(self, x), norm)
    return norm


OWN = {
    "an activation": (Seq(nn.Conv2d(3, 8, 3), WithActivation(8)), IMAGE),
    "not affine": (Seq(nn.Conv2d(3, 8, 3), WithActivation(8, affine=False)), IMAGE),
    "inherited": (Seq(nn.Conv2d(3, 8, 3), Inherited(8)), IMAGE),
    "one axis": (Seq(nn.Conv1d(3, 8, 3), Inherited1d(8)), (2, 3, 9)),
    "features": (Seq(nn.Linear(3, 8), Inherited1d(8)), (2, 3)),
    "three axes": (Seq(nn.Conv3d(3, 8, 3), Inherited3d(8)), (2, 3, 5, 5, 5)),
    "synchronized": (Seq(nn.Conv2d(3, 8, 3), Synchronized(8)), IMAGE),
    "of one object": (Seq(nn.Conv2d(3, 8, 3), patched()), IMAGE),
}


@pytest.mark.parametrize(("network", "shape"), OWN.values(), ids=OWN.keys())
def test_a_batch_norm_with_a_forward_of_its_own_is_folded_and_the_rest_of_it_stays(network, shape):
    network = randomize(network)
    folded = fold_network(network, image(*shape))
    assert [(row.norm.name, row.norm.channels, row.into) for row in folded.rows] == [
        ("1", 8, ("0",))
    ]
    assert "batch_norm" not in folded.network.code
    assert batch_norms(folded.network) == []
    assert largest_error(network, folded.network, image(3, *shape[1:])) < TOLERANCE


def test_the_tolerance_notices_a_lost_activation():
    network = randomize(Seq(nn.Conv2d(3, 8, 3), WithActivation(8)))
    plain = fold_network(network, image(*IMAGE)).network.get_submodule("0")
    assert largest_error(network, plain, image(*IMAGE)) > 1000 * TOLERANCE


def test_a_batch_norm_with_an_activation_in_training_mode_is_kept_and_says_so():
    network = Seq(nn.Conv2d(3, 8, 3), WithActivation(8)).double().train()
    (row,) = fold_network(network, image(*IMAGE)).rows
    assert "it is in training mode; call eval() first" in row.reason


def test_a_branch_of_batch_norms_without_activation_becomes_one_convolution():
    """Identities where others have an activation stand in no sum's way."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), WithActivation(4, nn.Identity())
            self.identity, self.act = WithActivation(4, nn.Identity()), nn.ReLU()

        def forward(self, x):
            return self.act(self.norm(self.conv(x)) + self.identity(x))

    network = randomize(Block())
    folded = fold_network(network, image(2, 4, 6, 6))
    assert [row.into for row in folded.rows] == [("conv",), ("conv",)]
    assert largest_error(network, folded.network, image(3, 4, 6, 6)) < TOLERANCE


class Twice(nn.Module):
    """Calls a batch norm with an activation after each of two convolutions, and one never."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.idle = Inherited(3), nn.BatchNorm2d(5)

    def forward(self, x):
        return self.norm(self.other(self.norm(self.one(x))))


def test_rows_say_how_often_a_batch_norm_is_called():
    network = randomize(Twice())
    folded = fold_network(network, image(*IMAGE))
    assert [(row.norm.name, row.calls, row.into) for row in folded.rows] == [
        ("norm", 2, ("one", "other")),
        ("idle", 0, ()),
    ]
    assert [row.outcome for row in folded.rows] == [
        "called 2 times: one, other",
        "kept: the network never calls it",
    ]
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_a_row_is_one_short_line():
    folded = fold_network(randomize(Twice()), image(*IMAGE))
    assert repr(folded.rows[0]) == "<norm, 3 channels, folded into called 2 times: one, other>"
    assert repr(folded.rows[1]) == "<idle, 5 channels, kept: the network never calls it>"


class Frozen(nn.Module):
    """What a batch norm knows, as buffers that do not learn."""

    def __init__(self, channels=4):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels, generator=generator) + 0.1)

    def columns(self):
        names = ("weight", "bias", "running_mean", "running_var")
        return (getattr(self, name).reshape(1, -1, 1, 1) for name in names)


class AsTorchvision(Frozen):
    def forward(self, x):
        weight, bias, mean, var = self.columns()
        scale = weight * (var + 1e-5).rsqrt()
        return x * scale + (bias - mean * scale)


class AsDetectron(Frozen):
    """Spelled out where gradients are wanted, as a function where not; sees types as well."""

    def forward(self, x):
        if x.requires_grad:
            scale = self.weight * (self.running_var + 1e-5).rsqrt()
            bias = self.bias - self.running_mean * scale
            return x * scale.reshape(1, -1, 1, 1).to(x.dtype) + bias.reshape(1, -1, 1, 1)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=1e-5
        )


class Textbook(Frozen):
    def forward(self, x):
        weight, bias, mean, var = self.columns()
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


class Rounded(Frozen):
    """Brings its numbers to the type of its input."""

    def forward(self, x):
        weight, bias, mean, var = self.columns()
        scale = weight * (var + 1e-5).rsqrt()
        return x * scale.to(x.dtype) + (bias - mean * scale).to(x.dtype)


class Prepared(nn.Module):
    """Keeps scale and shift, under any name."""

    def __init__(self, channels=4):
        super().__init__()
        self.register_buffer("k", torch.linspace(0.5, 2, channels).view(-1, 1, 1))
        self.register_buffer("d", torch.linspace(-1, 1, channels).view(-1, 1, 1))

    def forward(self, x):
        return x * self.k + self.d


class Textbook2d(nn.BatchNorm2d):
    """Not frozen, but spelled out; with the statistics of a new one as well."""

    def forward(self, x):
        columns = [
            tensor[None, :, None, None]
            for tensor in (self.running_mean, self.running_var, self.weight, self.bias)
        ]
        return (x - columns[0]) / (columns[1] + self.eps).sqrt() * columns[2] + columns[3]


class Activated(AsTorchvision):
    """And an activation, as timm's frozen batch norm has."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


def new_textbook():
    return Textbook2d(4)


def trained_textbook():
    return randomize(Textbook2d(4))


SPELLED_OUT = [AsTorchvision, AsDetectron, Textbook, Rounded, Prepared, Activated]
FROZEN = [*SPELLED_OUT, new_textbook, trained_textbook]


@pytest.mark.parametrize("kind", FROZEN)
def test_a_frozen_batch_norm_is_one_row_and_is_folded(kind):
    network = Seq(nn.Conv2d(3, 4, 3), kind()).double().eval()
    folded = fold_network(network, image(*IMAGE))
    assert [(row.norm.name, row.norm.channels, row.is_norm, row.into) for row in folded.rows] == [
        ("1", 4, True, ("0",))
    ]
    assert largest_error(network, folded.network, image(3, 3, 7, 9)) < TOLERANCE or (
        folded.note is not None
    )
    assert largest_error(network, folded.network, image(3, *IMAGE[1:])) < TOLERANCE


@pytest.mark.parametrize("kind", [AsTorchvision, Textbook, Prepared])
def test_a_frozen_batch_norm_that_cannot_go_stays_as_it_is(kind):
    network = Seq(nn.ReLU(), kind(), nn.ReLU()).double().eval()
    folded = fold_network(network, image(2, 4, 5, 5))
    (row,) = folded.rows
    assert "comes from 0 (ReLU)" in row.reason
    assert largest_error(network, folded.network, image(2, 4, 5, 5)) == 0


def test_frozen_batch_norms_in_a_row_become_one_batch_norm():
    network = Seq(nn.ReLU(), AsTorchvision(), Prepared(), nn.ReLU()).double().eval()
    folded = fold_network(network, image(2, 4, 5, 5))
    assert [row.folded for row in folded.rows] == [False, True]
    assert len(batch_norms(folded.network)) == 1
    assert largest_error(network, folded.network, image(2, 4, 5, 5)) < TOLERANCE


def test_scales_that_a_network_learns_are_no_batch_norm():
    class LayerScale(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.linspace(0.5, 2, 4).view(-1, 1, 1))

        def forward(self, x):
            return x * self.gamma

    folded = fold_network(Seq(nn.Conv2d(3, 4, 3), LayerScale()).double().eval(), image(*IMAGE))
    assert [row.is_norm for row in folded.rows] == [False]


class ByAnotherName(nn.BatchNorm2d):
    """Calls an operator that folding does not know."""

    def forward(self, x):
        statistics = (self.running_mean, self.running_var)
        return torch.native_batch_norm(
            x, self.weight, self.bias, *statistics, False, 0.1, self.eps
        )[0]


class Autocasting(nn.Module):
    """torch.export puts what is below a context into a graph of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError
        with torch.autocast("cpu", enabled=False):
            return self.norm(self.conv(x))


@pytest.mark.parametrize(
    ("network", "name"),
    [(Seq(nn.Conv2d(3, 4, 3), ByAnotherName(4)), "1"), (Autocasting(), "norm")],
)
def test_a_batch_norm_that_is_not_understood_is_told(network, name):
    network = randomize(network)
    (row,) = fold_network(network, image(*IMAGE)).rows
    assert (row.norm.name, row.reason) == (name, "what its forward computes is not known")


def test_weights_that_are_standardized_by_a_batch_norm_are_no_batch_norm_of_the_network():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = functional.batch_norm(rows, None, None, training=True, momentum=0.0)
            return functional.conv2d(x, weight.reshape_as(self.weight), self.bias)

    network = randomize(Seq(Standardized(3, 4, 3), nn.BatchNorm2d(4)))
    folded = fold_network(network, image(*IMAGE))
    assert [(row.norm.name, row.into) for row in folded.rows] == [("1", ("0",))]
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_a_frozen_batch_norm_with_a_hook_is_told():
    network = Seq(nn.Conv2d(3, 4, 3), AsTorchvision()).double().eval()
    network[1].register_forward_hook(lambda module, inputs, output: output * 2)
    folded = fold_network(network, image(*IMAGE))
    assert [(row.norm.name, row.folded) for row in folded.rows] == [("1", False)]
    assert "a forward hook" in folded.rows[0].reason
