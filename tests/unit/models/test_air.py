"""The air network: its sizes, its frozen scales and its first weights."""

import pytest
import torch
from torch import nn

from models.networks import build_network
from models.networks.air import AirNet, set_partial_identity


def network(widths=(16, 32, 32), seed=0, **options):
    net = AirNet(widths=widths, **options)
    net.initialize(torch.Generator().manual_seed(seed))
    return net


def norms(net):
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("widths", "depth", "parameters"),
    [
        ((64, 256, 256), 2, 1_971_640),
        ((128, 384, 384), 2, 4_604_728),
        ((128, 384, 512), 3, 9_915_704),
    ],
)
def test_the_presets_have_the_sizes_of_airbenchs(widths, depth, parameters):
    net = AirNet(widths=widths, depth=depth)
    frozen_scales = sum(norm.weight.numel() for norm in norms(net))
    assert sum(p.numel() for p in net.parameters()) - frozen_scales == parameters
    assert len(norms(net)) == 3 * depth


@pytest.mark.parametrize("side", [16, 24, 28, 32])
@pytest.mark.parametrize("depth", [2, 3])
def test_any_resolution_of_the_curriculum_gives_ten_logits(side, depth):
    assert network(depth=depth).eval()(torch.rand(2, 3, side, side)).shape == (2, 10)


def test_scales_are_one_and_stay_one():
    net = network()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net.train()(torch.rand(8, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(norm.weight, torch.ones_like(norm.weight)) for norm in norms(net))
    assert any(norm.bias.abs().max() > 0 for norm in norms(net))
    assert net.whitening.weight.grad is None
    assert net.whitening.bias.grad is not None


def test_a_new_filter_bank_passes_its_inputs_on():
    net = network()
    features = torch.rand(2, 16, 8, 8)
    assert torch.equal(net.group2.conv1(features)[:, :16], features)
    assert not torch.allclose(net.group2.conv1(features)[:, 16:], features, atol=0.1)


@pytest.mark.parametrize("shape", [(4, 4, 3, 3), (6, 4, 3, 3), (4, 6, 3, 3), (4, 4, 5, 5)])
def test_partial_identity_is_torchs_dirac(shape):
    ours, theirs = torch.rand(shape), torch.empty(shape)
    rest = ours[min(shape[:2]) :].clone()
    set_partial_identity(ours)
    nn.init.dirac_(theirs)
    count = min(shape[:2])
    assert torch.equal(ours[:count], theirs[:count])
    assert torch.equal(ours[count:], rest)


def test_weights_follow_the_seed_alone():
    left, right, other = network(seed=1), network(seed=1), network(seed=2)
    assert torch.equal(left.group2.conv1.weight, right.group2.conv1.weight)
    assert torch.equal(left.head.weight, right.head.weight)
    assert not torch.equal(left.group2.conv1.weight, other.group2.conv1.weight)


def test_the_third_convolution_is_residual():
    net = network(depth=3).eval()
    with torch.no_grad():
        net.group1.conv3.weight.zero_()  # then the group adds nothing to what it was given
    features = torch.rand(2, 24, 16, 16)
    group = net.group1
    pooled = group.activation(group.bn1(group.pool(group.conv1(features))))
    torch.testing.assert_close(group(features), group.activation(pooled))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (64, 256)}, "must be three integers, one for each group"),
        ({"widths": (64, 0, 256)}, r"widths\[1\] = 0 must be an integer from 1 to 8,192"),
        ({"widths": (64, 64, 10**6)}, r"widths\[2\] = 1000000 must be"),
        ({"widths": (8, 8, 8), "num_classes": -3}, "num_classes = -3 must be an integer from 2"),
        ({"widths": "wide"}, "must be three integers"),
        ({"widths": (8, 8, 8), "depth": 4}, "depth = 4 must be 2 or 3"),
        ({"widths": (8, 8, 8), "momentum": 0.0}, "momentum = 0.0 must be from 1e-06 to 1"),
        ({}, "widths"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=rf"options of 'air': .*{message}"):
        build_network("air", options)
