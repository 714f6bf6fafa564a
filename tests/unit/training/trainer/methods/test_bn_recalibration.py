"""Recalibrated statistics are the means over the images as they are."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from training.trainer.methods import bn_recalibration
from training.trainer.methods.bn_recalibration import recalibrate_batch_norms


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU())


def test_the_mean_is_that_of_all_images_and_the_variance_that_within_batches(monkeypatch):
    monkeypatch.setattr(bn_recalibration, "BATCH", 10)
    net, data = network(), images(40)
    assert recalibrate_batch_norms(net, data, nullcontext()) == 40
    with torch.no_grad():
        before_norm = net[0](data.float() / 255)
    norm = net[1]
    torch.testing.assert_close(norm.running_mean, before_norm.mean(dim=(0, 2, 3)))
    within = torch.stack([part.var(dim=(0, 2, 3)) for part in before_norm.split(10)]).mean(0)
    torch.testing.assert_close(norm.running_var, within)
    assert norm.momentum == 0.3
    assert not net.training
    # Negative control: a moving average of the same batches is something else.
    moving = network()
    moving[0].load_state_dict(net[0].state_dict())
    with torch.no_grad():
        for part in data.split(10):
            moving.train()(part.float() / 255)
    assert not torch.allclose(moving[1].running_mean, norm.running_mean, rtol=1e-3)


@pytest.mark.parametrize(("count", "used"), [(25, 20), (7, 7)])
def test_a_smaller_last_batch_is_left_out_unless_it_is_the_only_one(monkeypatch, count, used):
    monkeypatch.setattr(bn_recalibration, "BATCH", 10)
    net, data = network(), images(count)
    assert recalibrate_batch_norms(net, data, nullcontext()) == used
    with torch.no_grad():
        expected = net[0](data[:used].float() / 255).mean(dim=(0, 2, 3))
    torch.testing.assert_close(net[1].running_mean, expected)


def test_weights_and_networks_without_batch_norm_are_left_alone():
    net = network()
    weights = net[0].weight.clone()
    recalibrate_batch_norms(net, images(4), nullcontext())
    assert torch.equal(net[0].weight, weights)
    assert recalibrate_batch_norms(nn.Conv2d(3, 4, 3), images(4), nullcontext()) == 0
