"""Inputs on which a wrong fold shows: borders, single pixels, saturation, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def adversarial_images(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Return images (N, H, W, C): a wrong bias or padding shows at borders and on flat inputs.

    `shape` is (H, W, C).
    """
    generator = np.random.default_rng(seed)
    height, width, channels = shape
    black = np.zeros((1, *shape), np.uint8)
    border = black.copy()
    border[:, [0, -1]] = 255
    border[:, :, [0, -1]] = 255
    rows, columns = np.indices((height, width))
    checkerboard = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    return np.concatenate(
        [
            black,
            ~black,
            border,
            ~border,
            np.repeat(checkerboard[None, :, :, None], channels, axis=3),
            _single_pixels(generator, shape, 16),
            generator.integers(0, 256, (16, *shape), dtype=np.uint8),
        ]
    )


def _single_pixels(
    generator: np.random.Generator, shape: tuple[int, ...], count: int
) -> NDArray[np.uint8]:
    """Return black images with one saturated value each, the four corners first."""
    height, width, channels = shape
    images = np.zeros((count, *shape), np.uint8)
    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    inside = generator.integers(0, (height, width), (count - 4, 2))
    places = corners + [tuple(place) for place in inside]
    for image, (row, column) in zip(images, places, strict=True):
        image[row, column, generator.integers(channels)] = 255
    return images
