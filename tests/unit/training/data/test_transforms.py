"""Crops against padding and slicing, and the six views of a test image."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.data.transforms import averaged_logits, crop, resize


def images(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def padded_and_sliced(image, down, right, *, flip, pad=4):
    large = functional.pad(image[None].float(), (pad,) * 4, mode="reflect")[0]
    window = large[:, pad + down : pad + down + 32, pad + right : pad + right + 32]
    return (window.flip(2) if flip else window).to(torch.uint8)


def test_a_crop_is_reflection_padding_a_window_and_a_mirror():
    data = images()
    indices = torch.tensor([5, 0, 3, 3])
    shift = torch.tensor([[0, 0], [-2, 1], [4, -4], [1, 2]])
    flip = torch.tensor([False, True, False, True])
    taken = crop(data, indices, shift, flip)
    assert taken.is_contiguous(memory_format=torch.channels_last)
    for row, (index, (down, right), mirrored) in enumerate(
        zip(indices, shift.tolist(), flip.tolist(), strict=True)
    ):
        expected = padded_and_sliced(data[index], down, right, flip=mirrored)
        assert torch.equal(taken[row], expected)
        assert down == right == 0 or not torch.equal(taken[row], data[index])


def test_an_unmoved_crop_is_the_image():
    data, all_of = images(), torch.arange(6)
    taken = crop(data, all_of, torch.zeros(6, 2, dtype=torch.int64), torch.zeros(6).bool())
    assert torch.equal(taken, data)


def test_shrinking_averages_over_what_it_drops():
    stripes = torch.zeros(1, 3, 32, 32)
    stripes[..., ::2] = 1
    shrunk = resize(stripes, 16)
    assert shrunk.shape == (1, 3, 16, 16)
    inner = shrunk[..., 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), rtol=0, atol=0.01)
    # Without it, every other stripe would vanish.
    aliased = functional.interpolate(stripes, (16, 16), mode="nearest")
    assert (aliased - 0.5).abs().min() > 0.4
    assert resize(stripes, 32) is stripes


class Corner(nn.Module):
    """Answers with the image's top left pixel."""

    def forward(self, batch):
        return batch[:, :, 0, 0]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_six_views_are_the_image_and_two_shifts_each_mirrored(seed):
    batch = images(4, seed).float() / 255
    corners = (batch[:, :, 0, 0] + batch[:, :, 0, 31]) / 2
    # Either shift brings the second pixel there, once by reflection at the border; mirrored, the
    # last but one of its row.
    shifted = (batch[:, :, 1, 1] + batch[:, :, 1, 30]) / 2
    averaged = averaged_logits(Corner(), batch)
    torch.testing.assert_close(averaged, corners / 2 + shifted / 2)
    assert not torch.allclose(averaged, corners)
