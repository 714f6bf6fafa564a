"""What fold_network leaves alone, and the reason that it gives; then nothing else may change."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.random_networks import TOLERANCE, batch_norms, image, largest_error, randomize
from training.errors import FoldError
from training.folding.torch_frontend import fold_network

IMAGE = (2, 3, 5, 5)
Seq = nn.Sequential


class Lambda(nn.Module):
    """A convolution and a batch norm, put together by a function."""

    def __init__(self, body, **parts):
        super().__init__()
        self.body = body
        self.conv = parts.pop("conv", None) or nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.body(self, x)


def pair(norm=None, conv=None):
    return Seq(conv or nn.Conv2d(3, 3, 1), norm or nn.BatchNorm2d(3))


def hooked(place):
    network = pair()
    network[place].register_forward_hook(lambda module, inputs, output: output * 2)
    return network


def hooked_between():
    network = Seq(Seq(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3))
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    return network


def hooked_around():
    network = Seq(pair())
    network[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    return network


def parametrized():
    return pair(conv=nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)))


def broken(name, value):
    network = pair()
    getattr(network[1], name).data[1] = value
    return network


class OwnForward(nn.BatchNorm2d):
    """A batch norm that does something else, as its input's numbers say."""

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def own_forward():
    return pair(OwnForward(3))


def _in_place(net, x):
    y = net.conv(x)
    alias = y.view(y.size(0), 3, 5, 5)
    alias.mul_(2)
    return net.norm(y)


REFUSED = {
    "a ReLU between": (
        Seq(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        "comes from 1 (ReLU)",
    ),
    "batch norm first": (Seq(nn.BatchNorm2d(3)), "is not the output of a layer"),
    "no running statistics": (
        pair(nn.BatchNorm2d(3, track_running_stats=False)),
        "no running statistics; build it",
    ),
    "training": (pair(), "it is in training mode; call eval() first"),
    "hook on the convolution": (hooked(0), "a forward hook on 0"),
    "hook on the batch norm": (hooked(1), "a forward hook on 1"),
    "hook between": (hooked_between(), "0 (Sequential with a forward hook)"),
    "hook around": (hooked_around(), "inside of 0 (Sequential), which has a forward hook"),
    "parametrized": (parametrized(), "remove_parametrizations"),
    "not finite": (broken("running_var", float("nan")), "running_var is nan in channel 1"),
    "negative": (broken("running_var", -1.0), "running_var is -1, below zero, in channel 1"),
    "forward of its own": (
        own_forward(),
        "OwnForward has a forward of its own, which torch.fx cannot",
    ),
    "second consumer": (
        Lambda(lambda n, x: n.norm(y := n.conv(x)) + y),
        "the output of conv is read 2 times",
    ),
    "linear on three axes": (
        Lambda(lambda n, x: n.norm(n.dense(x)), dense=nn.Linear(5, 5)),
        "acts on the last of 4 axes",
    ),
    "weights tied": (
        Lambda(lambda n, x: n.norm(n.conv(x)) + n.other(x), other=nn.Conv2d(3, 3, 3, padding=1)),
        "conv shares its weights with other",
    ),
    "weights read": (
        Lambda(lambda n, x: n.norm(n.conv(x)) + functional.conv2d(x, n.conv.weight, padding=1)),
        "conv shares its weights with conv2d",
    ),
    "dynamic weights": (
        Lambda(lambda n, x: n.norm(functional.conv2d(x, n.conv.weight * x.mean(), padding=1))),
        "conv2d with weights computed from the input",
    ),
    "dynamic statistics": (
        Lambda(
            lambda n, x: functional.batch_norm(n.conv(x), x.mean((0, 2, 3)), n.norm.running_var)
        ),
        "its parameters are computed from the input",
    ),
    "in place": (Lambda(_in_place), "changes"),
}
REFUSED["weights tied"][0].other.weight = REFUSED["weights tied"][0].conv.weight


@pytest.mark.parametrize(("network", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_batch_norm_that_cannot_be_folded_exactly_is_kept_and_says_why(network, reason):
    network = network.double().train("training mode" in reason)
    training = network.training
    folded = fold_network(network, image(*IMAGE))
    (row,) = [row for row in folded.rows if row.is_norm]
    assert (row.into, row.largest_scale, row.folded) == ((), None, False)
    assert reason in row.reason
    assert folded.network.training == training
    torch.testing.assert_close(
        folded.network.eval()(image(*IMAGE)), network.eval()(image(*IMAGE)), equal_nan=True
    )


def test_layers_that_have_seen_no_data_are_refused():
    with pytest.raises(FoldError, match=r"1\.weight is not initialized: .* seen no data"):
        fold_network(pair(nn.LazyBatchNorm2d()).eval(), image(*IMAGE))


def test_a_network_that_cannot_be_copied_is_refused():
    network = pair().eval()
    network.lock = threading.Lock()
    with pytest.raises(FoldError, match=r"Sequential cannot be copied: .*; export it"):
        fold_network(network, image(*IMAGE))


def test_without_the_obstacle_the_same_networks_are_folded():
    """The negative control: the reasons above are not given for whatever there is."""
    network = randomize(Lambda(lambda n, x: n.norm(n.conv(x))))
    assert fold_network(network, image(*IMAGE)).rows[0].folded
    assert batch_norms(fold_network(randomize(pair()), image(*IMAGE)).network) == []


def test_a_functional_batch_norm_in_training_mode_is_refused_and_moves_nothing():
    network = Lambda(
        lambda n, x: functional.batch_norm(
            n.conv(x), n.norm.running_mean, n.norm.running_var, training=True
        )
    )
    folded = fold_network(network.double().eval(), 5 + image(*IMAGE))
    assert "training mode; pass training=False" in folded.rows[0].reason
    assert not network.norm.running_mean.any()
    assert not folded.network.get_buffer("norm.running_mean").any()


def test_folding_does_not_move_the_statistics_of_a_network_in_training():
    network = pair().double().train()
    folded = fold_network(network, 5 + image(*IMAGE))
    kept = folded.network.get_submodule("1")
    assert kept.training
    assert not kept.running_mean.any()


def test_folding_draws_no_random_numbers():
    network = Seq(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.BatchNorm2d(3)).double().eval()
    state = torch.get_rng_state()
    fold_network(network, image(*IMAGE))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["weights tied", "weights read", "second consumer"])
def test_with_clones_each_use_gets_weights_of_its_own(name):
    network = randomize(REFUSED[name][0])
    folded = fold_network(network, image(*IMAGE), clones=True)
    assert folded.rows[0].folded
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_dropout_in_training_is_no_identity():
    network = Seq(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.BatchNorm2d(3)).double().eval()
    network[1].train()
    assert "1 (Dropout)" in fold_network(network, image(*IMAGE)).rows[0].reason


def test_in_place_arithmetic_that_nobody_else_sees_does_not_stand_in_the_way():
    def body(net, x):
        y = net.conv(x)
        y *= 2
        y += net.other(x)
        return functional.relu(net.norm(y), inplace=True)

    network = randomize(Lambda(body, other=nn.Conv2d(3, 3, 1)))
    folded = fold_network(network, image(*IMAGE))
    assert batch_norms(folded.network) == []
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_an_activation_in_place_that_several_read_afterwards_does_not_either():
    """As in every residual network."""

    def body(net, x):
        y = net.relu(net.norm(net.conv(x)))
        z = net.other(y)
        z += y
        return net.relu(z)

    network = Lambda(body, other=nn.Conv2d(3, 3, 1), relu=nn.ReLU(inplace=True))
    folded = fold_network(randomize(network), image(*IMAGE))
    assert batch_norms(folded.network) == []
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_in_place_arithmetic_on_the_input_is_kept():
    def body(net, x):
        x /= 255
        return net.conv(x)

    network = randomize(Lambda(body))
    folded = fold_network(network, image(*IMAGE))
    given = image(*IMAGE)
    folded.network(given)
    assert torch.equal(image(*IMAGE) / 255, given)


def test_in_place_arithmetic_on_an_alias_is_traced_as_what_it_is():
    def body(net, x):
        y = alias = net.conv(x)
        y += 1
        return net.norm(alias)

    network = randomize(Lambda(body))
    folded = fold_network(network, image(*IMAGE))
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_a_network_that_traces_as_another_one_is_refused():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    with pytest.raises(FoldError, match="traces a network that computes something else"):
        fold_network(Counts().eval(), image(*IMAGE))


class ScaledConvolution(nn.Conv2d):
    """A convolution that does more with its weight than convolve."""

    def forward(self, x):
        return self._conv_forward(x, self.weight.sign(), self.bias)


ScaledConvolution.__module__ = "torch.nn"  # torch.fx looks into other modules, not into its own


class RoundedConvolution(nn.Conv2d):
    """The same, in a module of the user's and with arithmetic that is known to be pure."""

    def forward(self, x):
        return self._conv_forward(x, self.weight.round(), self.bias)


class SameConvolution(nn.Conv2d):
    """A subclass that adds nothing."""


def test_a_subclass_with_another_forward_is_not_taken_for_its_parent():
    network = randomize(pair(conv=ScaledConvolution(3, 3, 1)))
    folded = fold_network(network, image(*IMAGE))
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


@pytest.mark.parametrize("kind", [RoundedConvolution, SameConvolution])
def test_a_subclass_whose_forward_is_understood_is_folded(kind):
    network = randomize(pair(conv=kind(3, 3, 1)))
    with torch.no_grad():
        network[0].weight *= 5
    folded = fold_network(network, image(*IMAGE))
    assert folded.rows[0].folded
    assert largest_error(network, folded.network, image(*IMAGE)) < TOLERANCE


def test_batch_norms_inside_of_what_is_not_looked_into_are_told():
    class Closed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = pair()

        def forward(self, x):
            return self.body(x)

    Closed.__module__ = "torch.nn.closed"
    folded = fold_network(Seq(Closed()).double().eval(), image(*IMAGE))
    assert folded.rows[0].norm.name == "0.body.1"
    assert "inside of 0 (Closed), which is not looked into" in folded.rows[0].reason
