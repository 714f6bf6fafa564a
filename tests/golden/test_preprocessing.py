"""Pictures are resized and cropped as torchvision does it, to the pixel."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from models.manifest import ImageSpec
from models.preprocessing import preprocess
from tests.golden.preprocessing_reference import FILE, PIPELINES, digest, pictures

REFERENCE: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


def spec(pipeline: tuple[Any, ...], transparency: str = "ignored") -> ImageSpec:
    resize, to, crop, interpolation = pipeline
    return ImageSpec(
        "image",
        "uint8",
        ("N", *crop, 3),
        resize=resize,
        resize_to=to,
        interpolation=interpolation,
        transparency=transparency,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def drawn() -> list[Image.Image]:
    return list(pictures())


@pytest.mark.skipif(
    PIL.__version__.split(".")[0] != REFERENCE["pillow"].split(".")[0],
    reason="another major version of Pillow may round elsewhere",
)
@pytest.mark.parametrize("number", range(len(PIPELINES)), ids=str)
def test_every_pixel_is_torchvision_s(drawn: list[Image.Image], number: int) -> None:
    asked = spec(PIPELINES[number])
    other = [
        (index, one.mode, one.size)
        for index, one in enumerate(drawn)
        if digest(preprocess(one, asked)) != REFERENCE["pixels"][index][number]
    ]
    assert other == []


def test_a_picture_of_extreme_proportions_is_never_whole_in_memory() -> None:
    thin = Image.new("RGB", (30_000, 1), (9, 8, 7))
    pixels = preprocess(thin, spec(("shortest-side", (256,), (224, 224), "bilinear")))
    assert np.array_equal(np.unique(pixels.reshape(-1, 3), axis=0), [[9, 8, 7]])


def test_a_photograph_held_upright_is_turned_before_it_is_cut() -> None:
    asked = spec(("shortest-side", (20,), (16, 16), "bilinear"))
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 25, 3), np.uint8))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.info["exif"] = exif.tobytes()
    lying.getexif()[0x0112] = 6
    assert np.array_equal(preprocess(lying, asked), preprocess(upright, asked))


def test_transparency_is_ignored_or_white_and_grey_is_a_channel() -> None:
    clear = Image.new("RGBA", (16, 16), (10, 20, 30, 0))
    pipeline = ("exact", (16, 16), (16, 16), "bilinear")
    assert preprocess(clear, spec(pipeline)).max() == 30
    assert preprocess(clear, spec(pipeline, "white")).min() == 255
    grey = ImageSpec(
        "image", "uint8", ("N", 16, 16, 1), colour_order="grey", resize="exact", resize_to=(16, 16)
    )
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    assert np.unique(preprocess(red, grey)).tolist() == [76]  # 0.299 of 255
