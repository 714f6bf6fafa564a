"""Padding with one number for each channel, for any size."""

import pytest
import torch
from torch.nn import functional

from tests.random_networks import image
from training.folding.torch_frontend.write_back import PerChannelPad

VALUES = torch.tensor([1.5, -2.0, 0.0], dtype=torch.float64)


def one_by_one(x, padding, values):
    """Pad each channel by itself."""
    sizes = [size for pair in reversed(padding) for size in pair]
    channels = x.unbind(1)
    return torch.stack(
        [functional.pad(c, sizes, value=v.item()) for c, v in zip(channels, values, strict=True)], 1
    )


@pytest.mark.parametrize(
    ("padding", "sizes"),
    [
        (((1, 2),), [(5,), (1,)]),
        (((1, 1), (0, 3)), [(4, 5), (1, 1), (7, 2)]),
        (((0, 1), (2, 0), (1, 1)), [(2, 3, 4), (1, 1, 1)]),
    ],
    ids=["1d", "2d", "3d"],
)
def test_each_channel_has_its_own_border_whatever_the_size(padding, sizes):
    pad = PerChannelPad(padding, VALUES)
    traced = torch.fx.symbolic_trace(pad)
    for size in sizes:
        for batch in (1, 2):
            x = image(batch, 3, *size)
            assert torch.equal(one_by_one(x, padding, VALUES), pad(x))
            assert torch.equal(pad(x), traced(x))
            assert not torch.equal(one_by_one(x, padding, VALUES.flip(0)), pad(x))


def test_what_is_not_finite_inside_does_not_reach_the_border():
    x = torch.full((1, 3, 2, 2), float("nan"), dtype=torch.float64)
    padded = PerChannelPad(((1, 1), (1, 1)), VALUES)(x)
    assert torch.equal(padded[0, :, 0, 0], VALUES)
    assert padded[0, :, 1, 1].isnan().all()


def test_it_moves_with_the_network():
    pad = PerChannelPad(((1, 1),), VALUES).half()
    assert pad(torch.zeros(1, 3, 2).half()).dtype == torch.float16
    assert "values" in pad.state_dict()
