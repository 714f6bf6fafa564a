"""The new statistics are the means over the images as they are."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from training.trainer.methods.precise_bn import apply_precise_bn


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU())


def test_the_mean_is_that_of_all_images_and_the_variance_that_within_batches():
    net, data = network(), images(40)
    assert apply_precise_bn(net, data, nullcontext(), batch_size=10) == 40
    with torch.no_grad():
        before_norm = net[0](data.float() / 255)
    norm = net[1]
    torch.testing.assert_close(norm.running_mean, before_norm.mean(dim=(0, 2, 3)))
    within = torch.stack([chunk.var(dim=(0, 2, 3)) for chunk in before_norm.split(10)]).mean(0)
    torch.testing.assert_close(norm.running_var, within)
    assert norm.momentum == 0.3
    assert not net.training
    # Negative control: a moving average of the same batches is something else.
    moving = network()
    moving[0].load_state_dict(net[0].state_dict())
    with torch.no_grad():
        for chunk in data.split(10):
            moving.train()(chunk.float() / 255)
    assert not torch.allclose(moving[1].running_mean, norm.running_mean, rtol=1e-3)


@pytest.mark.parametrize(("count", "used"), [(25, 20), (7, 7)])
def test_a_smaller_last_batch_is_left_out_unless_it_is_the_only_one(count, used):
    net, data = network(), images(count)
    assert apply_precise_bn(net, data, nullcontext(), batch_size=10) == used
    with torch.no_grad():
        expected = net[0](data[:used].float() / 255).mean(dim=(0, 2, 3))
    torch.testing.assert_close(net[1].running_mean, expected)


def test_weights_and_networks_without_batch_norm_are_left_alone():
    net = network()
    weights = net[0].weight.clone()
    apply_precise_bn(net, images(4), nullcontext())
    assert torch.equal(net[0].weight, weights)
    assert apply_precise_bn(nn.Conv2d(3, 4, 3), images(4), nullcontext()) == 0
