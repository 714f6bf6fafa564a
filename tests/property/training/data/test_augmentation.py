"""Shifting and mirroring against the definition, pixel by pixel, for any shift and shape."""

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.data.augmentation import augment, shift_and_flip
from training.recipes.recipe import AugmentationRecipe

# Positions up to 16 carry 2^-48 after the grid's scaling to [-1, 1] and back, times the largest
# slope, 1; a fault of one part in a thousand of a pixel would be ten orders larger.
TOLERANCE = 1e-12


def reference(image, shift_x, shift_y, flip):
    """Sample (C, H, W) bilinearly at each pixel's place plus the shift, the edge repeated."""
    _, height, width = image.shape
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            # The mirror comes first on the way back from the output to the input.
            source = width - 1 - column if flip else column
            x = np.clip(source + shift_x * width, 0, width - 1)
            y = np.clip(row + shift_y * height, 0, height - 1)
            left, top = int(x), int(y)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            u, v = x - left, y - top
            above = (1 - u) * image[:, top, left] + u * image[:, top, right]
            below = (1 - u) * image[:, bottom, left] + u * image[:, bottom, right]
            result[:, row, column] = (1 - v) * above + v * below
    return result


def sampled(image, shift_x, shift_y, flip):
    shift = torch.tensor([[shift_x, shift_y]], dtype=torch.float64)
    return shift_and_flip(torch.from_numpy(image)[None], shift, torch.tensor([flip]))[0].numpy()


def noise(seed, height, width):
    return np.random.default_rng(seed).random((2, height, width))


shifts = st.floats(-1, 1)
sides = st.integers(1, 12)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 9), sides, sides, shifts, shifts, st.booleans())
@example(0, 8, 6, 0.1, -0.1, True)
@example(0, 1, 1, 1.0, -1.0, False)
def test_every_pixel_is_the_definitions(seed, height, width, shift_x, shift_y, flip):
    image = noise(seed, height, width)
    difference = sampled(image, shift_x, shift_y, flip) - reference(image, shift_x, shift_y, flip)
    assert np.abs(difference).max() < TOLERANCE


def test_a_slightly_wrong_shift_a_swapped_axis_and_a_missing_flip_would_be_noticed():
    image = noise(0, 8, 8)
    ours = sampled(image, 0.1, -0.06, True)
    for wrong in ((0.1001, -0.06, True), (-0.06, 0.1, True), (0.1, -0.06, False)):
        assert np.abs(ours - reference(image, *wrong)).max() > 1e5 * TOLERANCE


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.floats(0, 0.99), st.floats(0, 1))
def test_no_pixel_leaves_the_range_of_its_image(seed, max_shift, flip_probability):
    """An interpolation is a mean: float32 rounds each of its four weights and three sums."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 8, 8, generator=generator) * 0.5 + 0.25
    moved = augment(images, AugmentationRecipe(max_shift, flip_probability), generator)
    slack = 8 * torch.finfo(torch.float32).eps
    assert moved.min() >= images.min() - slack
    assert moved.max() <= images.max() + slack
