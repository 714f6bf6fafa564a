"""An image as a page can show it."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from service.api.v1.operation import data_url

PREFIX = "data:image/png;base64,"


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 1, 3), (7, 40, 3)])
def test_the_pixels_come_back_to_the_bit(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    url = data_url(pixels)
    assert url.startswith(PREFIX)
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix(PREFIX), validate=True)))
    assert image.format == "PNG"
    assert (np.asarray(image) == pixels).all()


def test_an_image_that_is_part_of_a_batch_is_shown_alone() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert data_url(batch[1]) == data_url(batch[1].copy())
    assert data_url(batch[1]) != data_url(batch[2])
