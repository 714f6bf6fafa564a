"""Public bug threads: the fault that a stock tool makes or made, and that fold_network does not.

Each stock tool is run too, on torch 2.13: what it gets wrong there is the negative control, which
shows that the network and the input would tell.
"""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from tests.random_networks import (
    TOLERANCE,
    batch_norms,
    image,
    largest_error,
    randomize,
    stock_fuse,
)
from training.folding.torch_frontend import fold_network

Seq = nn.Sequential


class Reused(nn.Module):
    """One convolution called twice, once with batch norm behind it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(self.conv(x)))


@pytest.mark.parametrize("clones", [False, True])
def test_pytorch_104593_and_197539_a_reused_convolution_is_not_corrupted(clones):
    network, x = randomize(Reused()), image(2, 3, 7, 7)
    folded = fold_network(network, x, clones=clones)
    assert clones == folded.rows[0].folded
    assert clones or "conv shares its weights with its other call" in folded.rows[0].reason
    assert largest_error(network, folded.network, x) < TOLERANCE
    assert largest_error(network, stock_fuse(network), x) > 0.01


def test_pytorch_180995_transposed_convolution_in_groups():
    network = randomize(Seq(nn.ConvTranspose2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)))
    x = image(2, 4, 5, 5)
    folded = fold_network(network, x)
    assert batch_norms(folded.network) == []
    assert largest_error(network, folded.network, x) < TOLERANCE
    with pytest.raises(RuntimeError, match="must match the size"):
        fuse_conv_bn_eval(*network, transpose=True)


def test_ultralytics_25364_the_scale_of_a_transposed_convolution_is_on_axis_1():
    network = randomize(Seq(nn.ConvTranspose2d(4, 4, 2, 2, bias=False), nn.BatchNorm2d(4)))
    x = image(2, 4, 5, 5)
    folded = fold_network(network, x).network
    assert largest_error(network, folded, x) < TOLERANCE
    wrong = fold_network(network, x).network
    norm = network[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        wrong.get_submodule("0").weight.copy_(network[0].weight * scale.view(-1, 1, 1, 1))
    assert largest_error(network, wrong, x) > 0.01


def test_ao_4116_and_pytorch_118990_linear_and_batch_norm_on_different_axes():
    network, x = randomize(Seq(nn.Linear(4, 4), nn.BatchNorm1d(4))), image(2, 4, 4)
    folded = fold_network(network, x)
    assert "acts on the last of 3 axes" in folded.rows[0].reason
    assert largest_error(network, folded.network, x) == 0
    assert largest_error(network, stock_fuse(network), x) > 0.01


def test_linear_and_batch_norm_without_affine_parameters():
    network, x = randomize(Seq(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False))), image(5, 4)
    assert largest_error(network, fold_network(network, x).network, x) < TOLERANCE
    with pytest.raises(TypeError):
        fuse_linear_bn_eval(*network)


def test_a_forward_hook_between_is_respected():
    network, x = randomize(Seq(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))), image(2, 3, 5, 5)
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    folded = fold_network(network, x)
    assert "a forward hook on 0" in folded.rows[0].reason
    assert largest_error(network, folded.network, x) == 0
    assert largest_error(network, stock_fuse(network), x) > 0.01


def test_a_forward_hook_on_the_network_itself_stays_and_sees_the_same_numbers():
    network, x = randomize(Seq(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))), image(2, 3, 5, 5)
    network.register_forward_hook(lambda module, inputs, output: output * 2)
    folded = fold_network(network, x)
    assert batch_norms(folded.network) == []
    assert largest_error(network, folded.network, x) < TOLERANCE


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize("weight_norm", [old_weight_norm, nn.utils.parametrizations.weight_norm])
def test_weight_norm_is_baked_and_the_batch_norm_folded(weight_norm):
    layer = weight_norm(nn.Conv2d(3, 4, 3))
    network, x = randomize(Seq(layer, nn.BatchNorm2d(4))), image(2, 3, 6, 6)
    folded = fold_network(network, x)
    assert folded.rows[0].into == ("0",)
    assert type(folded.network.get_submodule("0")) is nn.Conv2d
    assert {"0.weight", "0.bias"} == set(folded.network.state_dict())
    assert largest_error(network, folded.network, x) < TOLERANCE


def test_weight_norm_stops_the_stock_tools():
    """Of the old kind the network cannot be copied; of the new kind torch 2.13 leaves it alone."""
    old = randomize(Seq(old_weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)))
    with pytest.raises(RuntimeError, match="deepcopy"):
        stock_fuse(old)
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    new = randomize(Seq(layer, nn.BatchNorm2d(4)))
    assert len(batch_norms(stock_fuse(new))) == 1
    with pytest.raises(KeyError, match="attribute 'weight' already exists"):
        fuse_conv_bn_eval(*new)


def test_a_network_in_training_mode_is_refused_without_a_crash():
    network = Seq(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).double().train()
    (row,) = fold_network(network, image(2, 3, 5, 5)).rows
    assert "training mode" in row.reason
    with pytest.raises(AssertionError):
        fuse_conv_bn_eval(*network)


def test_pytorch_75252_a_batch_norm_without_statistics_is_no_constant():
    network = Seq(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).double().eval()
    x = image(2, 3, 5, 5)
    folded = fold_network(network, x)
    assert "track_running_stats" in folded.rows[0].reason
    assert largest_error(network, folded.network, 3 * x + 1) == 0
