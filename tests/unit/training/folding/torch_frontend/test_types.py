"""Weights of every float type are folded in float64 and rounded once to what they were."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.random_networks import batch_norms, image, randomize
from training.folding.torch_frontend import fold_network
from training.folding.torch_frontend.arrays import float64, numpy_dtype, tensor_like

# Half of the distance of 1 to the next number.
HALF_ULP = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-24}


def network_of(dtype):
    network = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten()
    )
    return randomize(network).to(dtype)


@pytest.mark.parametrize("dtype", HALF_ULP)
def test_each_weight_is_within_half_a_unit_of_the_exact_one(dtype):
    network = network_of(dtype)
    folded = fold_network(network, image(2, 3, 5, 5).to(dtype)).network
    exact = fold_network(network.double(), image(2, 3, 5, 5)).network
    assert batch_norms(folded) == []
    for name, value in exact.state_dict().items():
        own = folded.state_dict()[name]
        assert own.dtype == dtype
        rounding = (own.double() - value).abs() / value.abs().clamp(min=1e-4)
        assert rounding.max() <= HALF_ULP[dtype]


@pytest.mark.parametrize("dtype", HALF_ULP)
def test_rounding_twice_would_be_noticed(dtype):
    network = network_of(dtype)
    exact = fold_network(network.double(), image(2, 3, 5, 5)).network.state_dict()["1.weight"]
    twice = (exact.to(dtype) * torch.tensor(1.01, dtype=dtype)).double() / 1.01
    assert ((twice - exact).abs() / exact.abs()).max() > HALF_ULP[dtype]


def test_bfloat16_comes_and_goes_unchanged_and_is_rounded_once():
    values = torch.tensor([1.5, -3e38, 1e-39], dtype=torch.bfloat16)
    assert torch.equal(values, tensor_like(float64(values), values))
    assert numpy_dtype(torch.bfloat16).name == "bfloat16"
    tie = np.array([1 + 2**-8 + 2**-40])  # above the middle of 1 and the next bfloat16
    assert tensor_like(tie, values).item() == 1 + 2**-7
    assert torch.from_numpy(tie).to(torch.bfloat16).item() == 1  # torch rounds to float32 first


def test_weights_that_would_overflow_are_refused():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval().half()
    nn.init.constant_(network[0].weight, 300.0)
    network[1].running_var.zero_()  # a scale of 316
    folded = fold_network(network, torch.ones(2, 2).half())
    assert "float16 ends at 6.55e+04" in folded.rows[0].reason
    assert folded.network.get_submodule("0").weight.isfinite().all()


@torch.no_grad()
def test_pytorch_120545_folded_bfloat16_is_no_worse_than_unfolded():
    """The thread's models failed when scale and product were rounded to bfloat16 on the way."""
    network = randomize(nn.Sequential(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16))).bfloat16()
    x = image(4, 8, 8, 8).bfloat16()
    folded = fold_network(network, x).network
    unfolded_y, folded_y = network(x).double(), folded(x).double()
    truth = network.double()(x.double())
    assert (folded_y - truth).abs().max() <= 3 * (unfolded_y - truth).abs().max()
    assert (folded_y * 1.1 - truth).abs().max() > 3 * (unfolded_y - truth).abs().max()


def test_the_folded_layers_learn_nothing_and_stay_where_they_were():
    network = randomize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    folded = fold_network(network, image(2, 3, 5, 5)).network
    layer = folded.get_submodule("0")
    assert not layer.weight.requires_grad
    assert layer.weight.device == network[0].weight.device
    assert not layer.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_network_on_a_gpu_is_folded_there():
    network = network_of(torch.float32).cuda()
    folded = fold_network(network, torch.rand(2, 3, 5, 5).cuda()).network
    assert {value.device.type for value in folded.state_dict().values()} == {"cuda"}
    assert batch_norms(folded) == []
