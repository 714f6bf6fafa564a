"""Which batch norms are folded in a torch network, which are kept, and that the rest agrees."""

import pytest
import torch
from torch import nn

from training.folding.torch_modules import fold_batch_norms


def randomize(network, seed=0):
    """Give every batch norm statistics far from a fresh one's, which would be the identity."""
    generator = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(1e-4, 2, generator=generator)
            if norm.affine:
                nn.init.uniform_(norm.weight, -1.7, 1.7, generator=generator)
                nn.init.normal_(norm.bias, generator=generator)
    return network.double().eval()


def largest_error(network, folded, x):
    with torch.no_grad():
        expected = network(x)
        return ((folded(x) - expected).abs().max() / expected.abs().max()).item()


def image(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


FOLDABLE = {
    "conv1d": (nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)), (2, 3, 9)),
    "conv2d": (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)), (2, 3, 7, 7)),
    "conv3d": (nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)), (2, 3, 5, 5, 5)),
    "no bias": (nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)), (2, 3, 7, 7)),
    "grouped": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)), (2, 4, 7, 7)),
    "depthwise": (nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)), (2, 4, 7, 7)),
    "strided": (
        nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, dilation=2), nn.BatchNorm2d(8)),
        (2, 3, 9, 9),
    ),
    "linear": (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)), (5, 6)),
    "not affine": (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False)), (5, 6)),
}
# Float64 rounding of at most a few hundred products, amplified by scales up to 170.
TOLERANCE = 1e-10


@pytest.mark.parametrize(("network", "shape"), FOLDABLE.values(), ids=FOLDABLE.keys())
def test_a_batch_norm_behind_a_linear_layer_is_folded_exactly(network, shape):
    network = randomize(network)
    folded = fold_batch_norms(network, image(*shape))
    assert [layer.into for layer in folded.layers] == ["0"]
    assert not any("BatchNorm" in type(m).__name__ for m in folded.network.modules())
    assert largest_error(network, folded.network, image(*shape)) < TOLERANCE


def test_the_tolerance_notices_a_channel_scaled_by_one_percent():
    network, shape = FOLDABLE["conv2d"]
    network = randomize(network)
    folded = fold_batch_norms(network, image(*shape))
    convolution = folded.network.get_submodule("0")
    with torch.no_grad():
        convolution.weight[3] *= 1.01
    assert largest_error(network, folded.network, image(*shape)) > 1000 * TOLERANCE


def test_the_original_network_is_left_as_it_was():
    network, shape = FOLDABLE["conv2d"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norms(network.eval(), image(*shape))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_folding_twice_changes_nothing_more():
    network, shape = FOLDABLE["conv2d"]
    once = fold_batch_norms(randomize(network), image(*shape))
    twice = fold_batch_norms(once.network, image(*shape))
    assert twice.layers == ()
    assert torch.equal(once.network(image(*shape)), twice.network(image(*shape)))


class SharedConvolution(nn.Module):
    """One convolution called twice, once with batch norm behind it (pytorch issue 104593)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(self.conv(x)))


class SecondConsumer(nn.Module):
    """A convolution whose output is used beside the batch norm too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


def _hooked():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    return network


def _parametrized():
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)
    )


def _broken():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    network[1].running_var[1] = float("nan")
    return network


IMAGE = (2, 3, 5, 5)
REFUSED = {
    "a ReLU between": (
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        IMAGE,
        "its input comes from ReLU",
    ),
    "batch norm first": (nn.Sequential(nn.BatchNorm2d(3)), IMAGE, "not the output of a layer"),
    "no running statistics": (
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        IMAGE,
        "no running statistics",
    ),
    "shared convolution, pytorch 104593": (SharedConvolution(), IMAGE, "called 2 times"),
    "second consumer": (SecondConsumer(), IMAGE, "has 2 consumers"),
    "linear on three axes, ao 4116": (
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        (2, 4, 4),
        "acts on the last axis of a tensor of rank 3",
    ),
    "hook": (_hooked(), IMAGE, "a forward hook on 0"),
    "parametrized": (_parametrized(), IMAGE, "not from a linear layer|parametrized"),
    "not finite": (_broken(), IMAGE, "not finite in channel 1"),
}


@pytest.mark.parametrize(("network", "shape", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_batch_norm_that_cannot_be_folded_exactly_is_kept_and_says_why(network, shape, reason):
    network = network.double().eval()
    folded = fold_batch_norms(network, image(*shape))
    (layer,) = folded.layers
    assert layer.into is None
    assert layer.largest_scale is None
    assert any(part in layer.reason for part in reason.split("|"))
    assert any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in folded.network.modules())
    torch.testing.assert_close(
        folded.network(image(*shape)), network(image(*shape)), equal_nan=True, rtol=0, atol=0
    )


def test_a_network_in_training_mode_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train().double()
    (layer,) = fold_batch_norms(network, image(*IMAGE)).layers
    assert "training mode" in layer.reason


def test_the_report_states_the_largest_scale():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, eps=0.0)).double().eval()
    network[1].running_var.copy_(torch.tensor([4.0, 0.25]))
    nn.init.constant_(network[1].weight, -3.0)
    (layer,) = fold_batch_norms(network, image(*IMAGE)).layers
    assert layer.largest_scale == 6.0


class ReadsTheWeight(nn.Module):
    """Uses the convolution's weight by itself beside the convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) + nn.functional.conv2d(x, self.conv.weight, padding=1)


class TiedWeights(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.other = nn.Conv2d(3, 3, 3, padding=1)
        self.other.weight = self.conv.weight
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x)) + self.other(x)


class ScaledConvolution(nn.Conv2d):
    """A convolution that does more with its weight than convolve."""

    def forward(self, x):
        return self._conv_forward(x, self.weight.round(), self.bias)


ScaledConvolution.__module__ = "torch.nn"  # torch.fx looks into other modules, not into its own


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (ReadsTheWeight(), "conv.weight is also used by itself"),
        (TiedWeights(), "conv shares a parameter with other.weight"),
        (nn.Sequential(ScaledConvolution(3, 3, 1), nn.BatchNorm2d(3)), "from ScaledConvolution"),
    ],
    ids=["weight read", "weight tied", "subclass"],
)
def test_a_layer_whose_weight_serves_something_else_too_is_left_alone(network, reason):
    network = randomize(network)
    folded = fold_batch_norms(network, image(*IMAGE))
    assert reason in folded.layers[0].reason
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_weights_that_would_overflow_are_refused():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval().half()
    nn.init.constant_(network[0].weight, 300.0)
    network[1].running_var.zero_()  # a scale of 316
    folded = fold_batch_norms(network, torch.ones(2, 2).half())
    assert "overflow torch.float16" in folded.layers[0].reason
    assert folded.network.get_submodule("0").weight.isfinite().all()


def test_folding_does_not_move_the_statistics_of_a_network_in_training():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double().train()
    folded = fold_batch_norms(network, 5 + image(*IMAGE))
    kept = folded.network.get_submodule("1")
    assert kept.training
    assert not kept.running_mean.any()


class NamedInput(nn.Module):
    """Gives the batch norm its input by name."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(input=self.conv(x))


def test_an_input_given_by_name_is_found_too():
    network = randomize(NamedInput())
    folded = fold_batch_norms(network, image(*IMAGE))
    assert [layer.into for layer in folded.layers] == ["conv"]
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE
