"""Inputs on which a wrong fold shows: borders, single pixels, saturation, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 32


def adversarial_images(seed: int = 0) -> NDArray[np.uint8]:
    """Return images (N, 32, 32, 3): a wrong bias or padding shows at borders and on flat inputs."""
    generator = np.random.default_rng(seed)
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    border = black.copy()
    border[:, [0, -1]] = 255
    border[:, :, [0, -1]] = 255
    rows, columns = np.indices((SIDE, SIDE))
    checkerboard = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    return np.concatenate(
        [
            black,
            ~black,
            border,
            ~border,
            np.repeat(checkerboard[None, :, :, None], 3, axis=3),
            _single_pixels(generator, 16),
            generator.integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8),
        ]
    )


def _single_pixels(generator: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Return black images with one saturated value each, the four corners first."""
    images = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    corners = [(0, 0), (0, SIDE - 1), (SIDE - 1, 0), (SIDE - 1, SIDE - 1)]
    places = corners + [tuple(p) for p in generator.integers(0, SIDE, (count - 4, 2))]
    for image, (row, column) in zip(images, places, strict=True):
        image[row, column, generator.integers(3)] = 255
    return images
