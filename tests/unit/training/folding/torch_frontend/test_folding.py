"""Which batch norms fold_network folds, as modules and as functions, and that the rest agrees."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.random_networks import (
    TOLERANCE,
    batch_norms,
    image,
    largest_error,
    randomize,
)
from training.errors import FoldError
from training.folding.torch_frontend import fold_network

# torch says once that padding='same' of an even kernel copies its input.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
Seq = nn.Sequential
MODULES = {
    "conv1d": (Seq(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)), (2, 3, 9)),
    "conv2d": (Seq(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)), (2, 3, 7, 7)),
    "conv3d": (Seq(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)), (2, 3, 5, 5, 5)),
    "no bias": (Seq(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)), (2, 3, 7, 7)),
    "grouped": (Seq(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)), (2, 4, 7, 7)),
    "depthwise": (Seq(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)), (2, 4, 7, 7)),
    "strided": (Seq(nn.Conv2d(3, 8, 3, 2, dilation=2), nn.BatchNorm2d(8)), (2, 3, 9, 9)),
    "same": (Seq(nn.Conv2d(3, 8, 4, padding="same"), nn.BatchNorm2d(8)), (2, 3, 9, 9)),
    "reflect": (
        Seq(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)),
        (2, 3, 7, 7),
    ),
    "transposed 1d": (Seq(nn.ConvTranspose1d(4, 6, 3), nn.BatchNorm1d(6)), (2, 4, 7)),
    "transposed 3d": (Seq(nn.ConvTranspose3d(4, 6, 2, 2), nn.BatchNorm3d(6)), (2, 4, 3, 3, 3)),
    "transposed, groups": (
        Seq(nn.ConvTranspose2d(4, 8, 3, 2, groups=2, output_padding=1), nn.BatchNorm2d(8)),
        (2, 4, 7, 7),
    ),
    "linear": (Seq(nn.Linear(6, 8), nn.BatchNorm1d(8)), (5, 6)),
    "not affine": (Seq(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False)), (5, 6)),
    "cumulative": (Seq(nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=None)), (5, 6)),
    "synchronized": (Seq(nn.Conv2d(3, 8, 3), nn.SyncBatchNorm(8)), (2, 3, 7, 7)),
    "dropout between": (Seq(nn.Linear(6, 8), nn.Dropout(), nn.BatchNorm1d(8)), (5, 6)),
    "identity between": (Seq(nn.Linear(6, 8), nn.Identity(), nn.BatchNorm1d(8)), (5, 6)),
    "mean pool between": (
        Seq(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
    "adaptive mean pool between": (
        Seq(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(2), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
    "upsampling between": (
        Seq(nn.Conv2d(3, 8, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
    "mirrored border between": (
        Seq(nn.Conv2d(3, 8, 3), nn.ReflectionPad2d(1), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
    "wrapped border between": (
        Seq(nn.Conv2d(3, 8, 3), nn.CircularPad2d(1), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
    "border of zeros between": (
        Seq(nn.Conv2d(3, 8, 3), nn.ZeroPad2d((1, 2, 0, 1)), nn.BatchNorm2d(8)),
        (2, 3, 8, 8),
    ),
}
FORWARD = {
    "into linear": (Seq(nn.BatchNorm1d(6), nn.Linear(6, 8)), (5, 6)),
    "into conv": (Seq(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3)), (2, 3, 7, 7)),
    "into grouped conv": (Seq(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=2)), (2, 4, 7, 7)),
    "into replicate": (
        Seq(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1, padding_mode="replicate")),
        (2, 3, 7, 7),
    ),
    "into circular": (
        Seq(nn.BatchNorm1d(3), nn.Conv1d(3, 8, 3, padding=1, padding_mode="circular")),
        (2, 3, 7),
    ),
    "into zero padding": (
        Seq(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, 2, padding=(2, 1))),
        (2, 3, 7, 6),
    ),
    "into same padding of an even kernel": (
        Seq(nn.BatchNorm1d(3), nn.Conv1d(3, 8, 4, padding="same", dilation=3)),
        (2, 3, 9),
    ),
    "into linear after flatten": (
        Seq(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 16, 4)),
        (2, 3, 4, 4),
    ),
    "per position into linear": (
        Seq(nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(3 * 16), nn.Linear(3 * 16, 4)),
        (2, 3, 4, 4),
    ),
    "over a global pool": (
        Seq(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
        (2, 3, 4, 4),
    ),
}


@pytest.mark.parametrize(
    ("network", "shape"), (MODULES | FORWARD).values(), ids=(MODULES | FORWARD).keys()
)
def test_a_batch_norm_next_to_a_layer_is_folded_exactly(network, shape):
    network = randomize(network)
    folded = fold_network(network, image(*shape))
    assert [row.folded for row in folded.rows] == [True]
    assert batch_norms(folded.network) == []
    for size in (1, 3):  # other inputs than the example
        x = image(size, *shape[1:], seed=size)
        assert largest_error(network, folded.network, x) < TOLERANCE


@pytest.mark.parametrize(
    ("network", "shape"), (MODULES | FORWARD).values(), ids=(MODULES | FORWARD).keys()
)
def test_the_tolerance_notices_a_channel_scaled_by_one_percent(network, shape):
    network = randomize(network)
    folded = fold_network(network, image(*shape))
    layer = next(m for m in folded.network.modules() if hasattr(m, "weight"))
    with torch.no_grad():
        layer.weight[1] *= 1.01
    assert largest_error(network, folded.network, image(*shape)) > 1000 * TOLERANCE


class Functional(nn.Module):
    """The same networks, spelled with functions and the network's own parameters."""

    def __init__(self, body, **shapes):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.body = body
        for name, shape in shapes.items():
            parameter = nn.Parameter(torch.randn(*shape, generator=generator))
            self.register_parameter(name, parameter)
        for name, low in (("mean", -1.0), ("var", 0.1)):
            self.register_buffer(name, torch.empty(4).uniform_(low, 2, generator=generator))

    def forward(self, x):
        return self.body(self, x)


def _norm(net, x):
    return functional.batch_norm(x, net.mean, net.var, net.gamma, None, False, 0.1, 1e-3)


C = {"gamma": (4,), "w": (4, 3, 3, 3)}
FUNCTIONS = {
    "conv2d": (Functional(lambda n, x: _norm(n, functional.conv2d(x, n.w, padding=1)), **C), 4),
    "conv2d by names": (
        Functional(lambda n, x: _norm(n, torch.conv2d(input=x, weight=n.w, stride=2)), **C),
        4,
    ),
    "transposed": (
        Functional(
            lambda n, x: _norm(n, functional.conv_transpose2d(x, n.w, n.b, 2, 1, 1)),
            gamma=(4,),
            w=(3, 4, 3, 3),
            b=(4,),
        ),
        4,
    ),
    "linear": (
        Functional(
            lambda n, x: _norm(n, functional.linear(x.flatten(1), n.w, n.b)),
            gamma=(4,),
            w=(4, 108),
            b=(4,),
        ),
        4,
    ),
    "computed weight": (
        Functional(lambda n, x: _norm(n, functional.conv2d(x, n.w * n.k)), **C, k=(1,)),
        4,
    ),
    "methods and sizes": (
        Functional(
            lambda n, x: functional.linear(
                _norm(n, functional.relu(functional.conv2d(x, n.w)))
                .mean((2, 3))
                .view(x.size(0), -1),
                n.h,
            ),
            **C,
            h=(2, 4),
        ),
        4,
    ),
    "reshape": (
        Functional(
            lambda n, x: functional.linear(
                _norm(n, functional.relu(functional.conv2d(x, n.w))).reshape(x.shape[0], -1), n.h
            ),
            **C,
            h=(2, 64),
        ),
        4,
    ),
    "pad, pool, interpolate, dropout": (
        Functional(
            lambda n, x: _norm(
                n,
                functional.dropout(
                    functional.interpolate(
                        functional.avg_pool2d(
                            functional.pad(functional.conv2d(x, n.w), (1,) * 4, mode="reflect"), 2
                        ),
                        scale_factor=2,
                    ),
                    training=n.training,
                ),
            ),
            **C,
        ),
        4,
    ),
}


@pytest.mark.parametrize(("network", "channels"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_pytorch_122070_batch_norm_as_a_function_is_folded_too(network, channels):
    network = network.double().eval()
    x = image(2, 3, 6, 6)
    folded = fold_network(network, x)
    (row,) = folded.rows
    assert (row.folded, row.norm.channels) == (True, channels)
    assert "batch_norm" not in folded.network.code
    assert largest_error(network, folded.network, x) < TOLERANCE


class FrozenBatchNorm(nn.Module):
    """Four buffers and their arithmetic, as in detection networks."""

    def __init__(self, channels):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels, generator=generator) + 0.1)

    def forward(self, x):
        weight, bias, mean, var = (
            getattr(self, name).reshape(1, -1, 1, 1)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (var + 1e-5).rsqrt()
        return x * scale + (bias - mean * scale)


def test_a_frozen_batch_norm_is_folded_and_leaves_no_arithmetic():
    network = Seq(nn.Conv2d(3, 4, 3), FrozenBatchNorm(4)).double().eval()
    folded = fold_network(network, image(2, 3, 7, 7))
    assert {"call_module"} == {
        n.op for n in folded.network.graph.nodes if n.op not in ("placeholder", "output")
    }
    assert [(row.norm.name, row.is_norm, row.into) for row in folded.rows] == [("1", True, ("0",))]
    assert largest_error(network, folded.network, image(2, 3, 7, 7)) < TOLERANCE


class Preprocessing(nn.Module):
    """Scales pixels with Python numbers and a constant per channel."""

    def __init__(self, padding):
        super().__init__()
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3, padding=padding)

    def forward(self, x):
        return self.conv((x / 255 - 0.5) / self.std)


@pytest.mark.parametrize(("padding", "divisions"), [(0, 0), (1, 2)])
def test_preprocessing_goes_into_the_first_layer_where_its_padding_allows(padding, divisions):
    network = Preprocessing(padding).double().eval()
    x = image(2, 3, 6, 6).abs() * 255
    folded = fold_network(network, x)
    left = [n for n in folded.network.graph.nodes if "truediv" in n.name]
    assert len(left) <= divisions
    assert bool(left or padding == 0)
    assert largest_error(network, folded.network, x) < TOLERANCE


class RepVgg(nn.Module):
    """Three branches: 3x3, 1x1 and identity, each with batch norm."""

    def __init__(self):
        super().__init__()
        self.conv3, self.norm3 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm1 = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.norm0 = nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm3(self.conv3(x))
        y += self.norm1(self.conv1(x))
        return functional.relu(torch.add(y, self.norm0(x)))


def test_parallel_branches_become_one_convolution():
    network = randomize(RepVgg())
    folded = fold_network(network, image(2, 4, 6, 6))
    assert [name for name, _ in folded.network.named_children()] == ["conv3"]
    assert all(row.folded for row in folded.rows)
    assert largest_error(network, folded.network, image(2, 4, 9, 5)) < TOLERANCE


class DenseBlock(nn.Module):
    """Concatenations in front of batch norm, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)
        self.norm = nn.BatchNorm2d(9)

    def forward(self, x):
        return self.norm(torch.cat([self.conv1(x), self.conv2(x)], dim=1))


def test_a_batch_norm_after_a_concatenation_goes_into_every_branch():
    network = randomize(DenseBlock())
    folded = fold_network(network, image(2, 3, 4, 4))
    assert folded.rows[0].into == ("conv1", "conv2")
    assert largest_error(network, folded.network, image(2, 3, 4, 4)) < TOLERANCE


def test_a_batch_norm_after_max_pooling_is_folded_if_no_scale_is_negative():
    network = randomize(Seq(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)))
    refused = fold_network(network, image(2, 3, 6, 6))
    assert "a negative scale turns into a minimum" in refused.rows[0].reason
    with torch.no_grad():
        network[2].weight.abs_()
    folded = fold_network(network, image(2, 3, 6, 6))
    assert folded.rows[0].into == ("0",)
    assert largest_error(network, folded.network, image(2, 3, 6, 6)) < TOLERANCE
    assert largest_error(network, refused.network, image(2, 3, 6, 6)) > 1000 * TOLERANCE


def test_batch_norm_after_batch_norm_becomes_one_where_no_layer_takes_both():
    network = randomize(
        Seq(nn.ReLU(), nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False), nn.ReLU())
    )
    folded = fold_network(network, image(2, 3, 6, 6))
    assert len(batch_norms(folded.network)) == 1
    assert largest_error(network, folded.network, image(2, 3, 6, 6)) < TOLERANCE
    assert network[1].weight is not folded.network.get_submodule("1").weight


def test_the_original_network_is_left_as_it_was():
    network = Seq(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    example = torch.rand(2, 3, 7, 7)
    untouched = example.clone()
    fold_network(network, example)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(untouched, example)


@pytest.mark.parametrize("network", [RepVgg(), DenseBlock()], ids=["RepVGG", "DenseNet"])
def test_folding_twice_changes_nothing_more(network):
    x = image(2, 4 if isinstance(network, RepVgg) else 3, 6, 6)
    once = fold_network(randomize(network), x)
    twice = fold_network(once.network, x)
    assert twice.rows == ()
    assert torch.equal(once.network(x), twice.network(x))


def test_pytorch_124808_a_pair_is_folded_once_however_often_it_is_asked_for():
    network = randomize(Seq(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)))
    x = image(2, 3, 6, 6)
    folded = network
    for _ in range(3):
        folded = fold_network(folded, x).network
    assert largest_error(network, folded, x) < TOLERANCE


def test_the_report_states_the_largest_scale():
    network = Seq(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=0.0)).double().eval()
    network[1].running_var.copy_(torch.tensor([4.0, 0.25]))
    nn.init.constant_(network[1].weight, -3.0)
    (row,) = fold_network(network, image(2, 3, 5, 5)).rows
    assert row.largest_scale == 6.0


class NamedInput(nn.Module):
    """Gives the batch norm its input by name."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(input=self.conv(x))


def test_an_input_given_by_name_is_found_too():
    network = randomize(NamedInput())
    folded = fold_network(network, image(2, 3, 5, 5))
    assert folded.rows[0].into == ("conv",)
    assert largest_error(network, folded.network, image(2, 3, 5, 5)) < TOLERANCE


def test_several_inputs_and_outputs_are_kept():
    class TwoInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x, y):
            return {"sum": self.norm(self.conv(x)) + y, "y": [y]}

    network = randomize(TwoInputs())
    example = (image(2, 3, 5, 5), image(2, 3, 5, 5, seed=2))
    folded = fold_network(network, example)
    expected, given = network(*example), folded.network(*example)
    assert (expected["sum"] - given["sum"]).abs().max() < TOLERANCE
    assert torch.equal(expected["y"][0], given["y"][0])


class Branching(nn.Module):
    """Does one or the other, as its input's numbers say."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_is_refused_with_the_remedy():
    with pytest.raises(FoldError, match=r"cannot trace Branching: .*export it to ONNX"):
        fold_network(Branching().eval(), image(2, 3, 5, 5))


def test_an_example_that_does_not_fit_is_refused():
    with pytest.raises(FoldError, match=r"does not take the example \(2, 5\)"):
        fold_network(MODULES["linear"][0].double().eval(), image(2, 5))
