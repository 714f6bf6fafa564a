"""A picture becomes what a network takes: turned, coloured, resized, cut as its manifest says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.preprocessing import FILTERS, MAX_PROPORTION, pixels_at_once, preprocess
from models.tensors import ImageSpec
from tests.orientations import TURNS

ORIENTATION = 0x0112
RULES: tuple[dict[str, Any], ...] = (
    {"resize": "central-crop"},
    {"resize": "shortest-side", "resize_to": (20,)},
    {"resize": "exact", "resize_to": (24, 20)},
)


def spec(height: int = 16, width: int = 16, channels: int = 3, **rule: Any) -> ImageSpec:
    rule = {"interpolation": "bilinear", "transparency": "ignored"} | rule
    colours: Any = "grey" if channels == 1 else "RGB"
    shape = ("N", height, width, channels)
    return ImageSpec("image", "uint8", shape, colour_order=colours, **rule)


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    shape = (height, width, channels)
    return np.random.default_rng(height).integers(0, 256, shape, dtype=np.uint8)


def as_file(image: Image.Image, kind: str = "PNG", **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("rule", RULES[1:], ids=lambda rule: rule["resize"])
def test_a_photograph_is_turned_before_it_is_resized(
    orientation: int, rule: dict[str, Any]
) -> None:
    stored = noise(25, 40)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = preprocess(as_file(Image.fromarray(stored), exif=exif), spec(**rule))
    upright = Image.fromarray(np.ascontiguousarray(TURNS[orientation](stored)))
    assert np.array_equal(turned, preprocess(upright, spec(**rule)))
    assert orientation == 1 or (turned != preprocess(Image.fromarray(stored), spec(**rule))).any()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_big_photograph_is_decoded_in_full_by_the_rules_of_frameworks(kind: str) -> None:
    photo = as_file(Image.fromarray(noise(300, 400)), kind)
    preprocess(photo, spec(resize="shortest-side", resize_to=(16,)))
    assert photo.size == (400, 300)


def resized_whole(picture: Image.Image, asked: ImageSpec, *, beside: int = 0) -> NDArray[np.int64]:
    """Return what torchvision makes of a picture by its shorter side, or what is beside it."""
    (short,), (height, width, _) = asked.resize_to, asked.image_shape
    longer = int(short * max(picture.size) / min(picture.size))
    size = (short, longer) if picture.width <= picture.height else (longer, short)
    whole = picture.resize(size, FILTERS[asked.interpolation])
    left, top = round((size[0] - width) / 2) + beside, round((size[1] - height) / 2)
    return np.asarray(whole.crop((left, top, left + width, top + height))).astype(int)


@pytest.mark.parametrize(("short", "crop"), [(36, 32), (64, 64)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("width", "height"), [(401, 3), (3, 401), (200, 1), (1, 333), (290, 4), (999, 4)]
)
def test_a_thin_picture_is_what_it_is_when_resized_whole(
    width: int, height: int, interpolation: Any, short: int, crop: int
) -> None:
    picture = Image.fromarray(noise(height, width))
    asked = spec(
        crop, crop, resize="shortest-side", resize_to=(short,), interpolation=interpolation
    )
    assert max(width, height) > MAX_PROPORTION * min(width, height)
    # The resized length is a whole number, at least 64 * short: the scales differ by a part in as
    # many, which moves the crop's edge by 1/128 of a pixel. Two passes round.
    assert np.abs(preprocess(picture, asked) - resized_whole(picture, asked)).max() <= 2


def test_a_thin_picture_that_is_cut_a_pixel_beside_would_be_noticed() -> None:
    picture = Image.fromarray(noise(3, 401))
    asked = spec(32, 32, resize="shortest-side", resize_to=(36,))
    beside = resized_whole(picture, asked, beside=1)
    assert np.abs(preprocess(picture, asked) - beside).max() > 10


def test_a_picture_of_extreme_proportions_is_never_whole_in_memory() -> None:
    thin = Image.new("RGB", (30_000, 1), (9, 8, 7))
    asked = spec(224, 224, resize="shortest-side", resize_to=(256,))
    assert np.unique(preprocess(thin, asked).reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]
    assert pixels_at_once(thin.size, asked) <= (MAX_PROPORTION + 4) * 256**2


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        ({}, (40, 30), 40 * 30),
        ({}, (3, 2), 16 * 16),
        (RULES[1], (40, 30), 40 * 30),
        (RULES[1], (2, 9), 20 * 90),
        (RULES[1], (9, 2), 20 * 90),
        (RULES[2], (3, 2), 24 * 20),
        (RULES[2], (3000, 1), 3000),
    ],
)
def test_the_pixels_at_once_are_the_picture_s_or_what_it_grows_to(
    rule: dict[str, Any], size: tuple[int, int], expected: int
) -> None:
    assert pixels_at_once(size, spec(**rule)) == expected


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["resize"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_keeps_its_high_bytes(rule: dict[str, Any], channels: int) -> None:
    values = np.full((32, 32), 0x80FF, np.uint16)
    pixels = preprocess(as_file(Image.fromarray(values)), spec(channels=channels, **rule))
    assert pixels.shape == (16, 16, channels)
    assert np.unique(pixels).tolist() == [0x80]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["resize"])
def test_grey_is_what_pillow_takes_for_it(rule: dict[str, Any]) -> None:
    picture = Image.fromarray(noise(16, 16))
    asked = spec(channels=1, **(rule if rule["resize"] == "central-crop" else RULES[2]))
    if rule["resize"] != "central-crop":
        asked = spec(channels=1, resize="exact", resize_to=(16, 16))
    assert np.array_equal(preprocess(picture, asked)[..., 0], np.asarray(picture.convert("L")))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["resize"])
def test_transparency_is_laid_on_white_or_ignored(rule: dict[str, Any]) -> None:
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    ignored = preprocess(clear, spec(**rule)).reshape(-1, 3)
    white = preprocess(clear, spec(**(rule | {"transparency": "white"})))
    if rule["resize"] != "central-crop":  # which resamples colours by their share
        assert np.unique(ignored, axis=0).tolist() == [[10, 20, 30]]
    assert white.min() == 255


def test_every_colour_of_every_transparency_is_composed_as_pillow_does() -> None:
    values, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([values, values[::-1], values, alpha], axis=-1).astype(np.uint8)
    picture = Image.fromarray(pixels)
    page = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    expected = np.asarray(Image.alpha_composite(page, picture).convert("RGB"))
    asked = spec(256, 256, resize="exact", resize_to=(256, 256), transparency="white")
    assert np.array_equal(preprocess(picture, asked), expected)


def test_what_the_resized_picture_lacks_is_black_and_the_odd_pixel_is_on_the_right() -> None:
    white = Image.new("RGB", (5, 5), (255, 255, 255))
    pixels = preprocess(white, spec(8, 4, resize="exact", resize_to=(5, 3)))
    assert pixels[..., 0].tolist() == [[0] * 4] + [[255] * 3 + [0]] * 5 + [[0] * 4] * 2
