"""Shifts with sub-pixel precision and replicated edges, as Keras 2.2 makes them with scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.data.augmentation import augment, scale_images, shift_and_flip
from training.recipes.recipe import AugmentationRecipe

RECIPE = AugmentationRecipe(max_shift=0.1, flip_probability=0.5)


def images(count=4, seed=0):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).double()


def scipy_shift(image, x, y):
    """Move the content by x, y pixels to the left and up."""
    planes = [ndimage.shift(plane, (-y, -x), order=1, mode="nearest") for plane in image.numpy()]
    return np.stack(planes)


SHIFTS = [(0.0, 0.0), (1.0, -2.0), (0.5, 0.25), (-3.2, 3.2), (2.71, -0.03)]
TOLERANCE = 1e-12


def ours(image, x, y):
    shift = torch.tensor([[x / 32, y / 32]], dtype=torch.float64)
    return shift_and_flip(image[None], shift, torch.tensor([False]))[0].numpy()


@pytest.mark.parametrize(("x", "y"), SHIFTS)
def test_a_shift_is_bilinear_and_repeats_the_edge(x, y):
    (image,) = images(1)
    assert np.abs(ours(image, x, y) - scipy_shift(image, x, y)).max() < TOLERANCE


def test_every_image_draws_its_own_shift_within_a_tenth_of_the_side():
    """A ramp shows by its middle how far it was moved."""
    ramp = torch.arange(32.0).expand(2000, 3, 32, 32)
    recipe = AugmentationRecipe(max_shift=0.1, flip_probability=0.0)
    moved = augment(ramp, recipe, torch.Generator().manual_seed(0))[:, 0, 16, 16] - 16
    assert moved.abs().max() <= 3.2 + 1e-4
    assert moved.min() < -3.1
    assert moved.max() > 3.1
    assert abs(moved.mean()) < 3 * 3.2 / 3**0.5 / 2000**0.5
    assert (moved.frac().abs() > 1e-3).float().mean() > 0.9  # no whole pixels


def test_about_half_of_the_images_are_mirrored():
    ramp = torch.arange(32.0).expand(2000, 3, 32, 32)
    recipe = AugmentationRecipe(max_shift=0.0, flip_probability=0.5)
    mirrored = augment(ramp, recipe, torch.Generator().manual_seed(0))[:, 0, 0, 0] > 16
    assert abs(mirrored.float().mean() - 0.5) < 3 * 0.5 / 2000**0.5


def test_the_draws_depend_on_the_generator_alone():
    batch = images().float()
    first = augment(batch, RECIPE, torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    second = augment(batch, RECIPE, torch.Generator().manual_seed(5))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(batch, RECIPE, torch.Generator().manual_seed(6)))


def test_bytes_become_fractions_of_255():
    scaled = scale_images(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8))
    torch.testing.assert_close(scaled, torch.tensor([[[[0.0, 0.2, 1.0]]]]))
