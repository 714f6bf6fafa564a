"""Lookahead and the moving average, by hand."""

import pytest
import torch
from torch import nn

from training.recipes.recipe import AveragingRecipe
from training.trainer.methods.weight_averaging import WeightAverage


def network():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    net[1].weight.requires_grad_(False)
    return net


def set_all(net, value):
    with torch.no_grad():
        for tensor in (net[0].weight, net[0].bias, net[1].bias, net[1].running_mean):
            tensor.fill_(value)


def test_ema_watches_and_takes_over_at_the_end():
    net = network()
    set_all(net, 0.0)
    average = WeightAverage(net, AveragingRecipe("ema", every=2, decay=0.9))
    for step in range(4):
        set_all(net, float(step + 1))
        average.after_step(step, 4)
        assert net[0].bias[0] == step + 1  # untouched
    first = 2 * (1 - 1 / 10)  # and not 1 - 0.81: the average is not older than the run
    expected = 2 / 11 * first + (1 - 2 / 11) * 4
    average.take_over()
    for tensor in (net[0].weight, net[1].bias, net[1].running_mean):
        torch.testing.assert_close(tensor, torch.full_like(tensor, expected))
    assert torch.equal(net[1].weight, torch.ones(4))


def test_a_long_run_of_ema_comes_to_its_decay():
    net = network()
    set_all(net, 0.0)
    average = WeightAverage(net, AveragingRecipe("ema", every=1, decay=0.9))
    kept = []
    for step in range(200):
        set_all(net, 1.0)
        average.after_step(step, 200)
        kept.append(1 - average.average["0.bias"][0].double().item())
        average.restore({"0.bias": torch.zeros(4)})
    assert kept == pytest.approx([min(0.9, (1 + n) / (10 + n)) for n in range(200)], rel=1e-5)


def test_lookahead_sets_the_weights_back_and_binds_them_ever_more():
    net = network()
    set_all(net, 0.0)
    average = WeightAverage(net, AveragingRecipe("lookahead", every=1, decay=0.5))
    kept = []
    for step in range(4):
        set_all(net, 1.0)
        before = average.average["0.bias"][0].item()
        average.after_step(step, 4)
        after = net[0].bias[0].item()
        kept.append((1 - after) / (1 - before) if before < 1 else 0)
        assert net[0].bias[0] == average.average["0.bias"][0]
    assert kept == pytest.approx([0.5 * ((step + 1) / 4) ** 3 for step in range(4)])


def test_between_two_moments_nothing_happens():
    net = network()
    average = WeightAverage(net, AveragingRecipe("lookahead", every=5))
    set_all(net, 3.0)
    average.after_step(0, 10)
    assert net[0].bias[0] == 3
    assert average.average["0.bias"][0] != 3


def test_the_statistics_are_averaged_and_counters_and_frozen_scales_are_not():
    average = WeightAverage(network(), AveragingRecipe("ema")).average
    assert set(average) == {"0.weight", "0.bias", "1.bias", "1.running_mean", "1.running_var"}


def test_a_saved_average_is_taken_up():
    net = network()
    average = WeightAverage(net, AveragingRecipe("ema"))
    average.restore({"0.bias": torch.full((4,), 5.0)})
    average.take_over()
    assert torch.equal(net[0].bias, torch.full((4,), 5.0))
