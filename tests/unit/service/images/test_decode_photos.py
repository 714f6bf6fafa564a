"""Photos are decoded at a fraction of their size, and turned as their cameras were held."""

import io
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from models.preprocessing import DRAFT_GAP
from service.images.decode import EncodedImage
from service.settings import Limits
from tests.images import SPEC, decode_image
from tests.orientations import TURNS

LIMITS = Limits()
SIDE = SPEC.image_shape[0]
ORIENTATION = 0x0112
# A draft keeps 128 pixels of the shorter side at least, so a block that it averages is a quarter of
# one of our pixels at most. The finest pattern that 32 pixels show has a period of two of them: the
# average takes 1 - sinc(1/8) = 2.6 % of it in each direction, of at most 127 levels, and decoding
# and resampling round twice.
LARGEST_DIFFERENCE = 2 * 0.026 * 127 + 2  # 4 were measured
MEAN_DIFFERENCE = 1.5  # 1.1 were measured


def photo(width, height, orientation=None):
    """Return a JPEG whose content is as fine as 32 pixels can show."""
    coarse = np.random.default_rng(width).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    return saved(image, "JPEG", quality=90, exif=exif)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reduced_in_full(content, width=None, height=None):
    """Return the central square of this part of an image, of all the pixels that it has."""
    image = Image.open(io.BytesIO(content))
    width, height = width or image.width, height or image.height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    square = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
    return np.asarray(square).astype(int)


def decoded_size(content):
    """Return the size at which Pillow has decoded a file."""
    image = Image.open(io.BytesIO(content))
    with mock.patch.object(Image, "open", return_value=image):
        EncodedImage(content, LIMITS).decode(SPEC)
    return image.size


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((4000, 3000), (500, 375)),
        ((7000, 5600), (875, 700)),
        ((1030, 777), (258, 195)),
        ((511, 1000), (256, 500)),
        ((255, 255), (255, 255)),
        ((4000, 100), (4000, 100)),
    ],
)
def test_a_photo_is_decoded_as_small_as_its_reduction_allows(size, decoded):
    assert decoded_size(photo(*size)) == decoded
    assert min(decoded) >= min(DRAFT_GAP * SIDE, *size)


def test_other_types_are_decoded_in_full():
    content = saved(Image.new("RGB", (1030, 777)), "PNG")
    assert decoded_size(content) == (1030, 777)


@pytest.mark.parametrize("size", [(4000, 3000), (1030, 777), (777, 1030), (511, 1000), (263, 261)])
def test_a_photo_is_nearly_what_it_is_in_full(size):
    content = photo(*size)
    difference = np.abs(decode_image(content, LIMITS) - reduced_in_full(content))
    assert difference.max() <= LARGEST_DIFFERENCE
    assert difference.mean() <= MEAN_DIFFERENCE


def test_a_photo_that_is_taken_for_as_large_as_its_last_block_would_be_noticed():
    """777 rows are 194.25 of a draft's; 195 of them are 780."""
    content = photo(1030, 777)
    stretched = Image.open(io.BytesIO(content))
    stretched.draft(None, (128, 128))
    wrong = reduced_in_full(saved(stretched, "BMP"))
    difference = np.abs(wrong - reduced_in_full(content))
    assert difference.max() > 2 * LARGEST_DIFFERENCE
    assert difference.mean() > 2 * MEAN_DIFFERENCE


@pytest.mark.parametrize("orientation", TURNS)
def test_a_photo_is_turned_wherever_its_last_block_ends_up(orientation):
    content = photo(1030, 777, orientation)
    expected = TURNS[orientation](reduced_in_full(photo(1030, 777)))
    difference = np.abs(decode_image(content, LIMITS) - expected)
    assert difference.max() <= LARGEST_DIFFERENCE
    assert difference.mean() <= MEAN_DIFFERENCE


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_needs_no_resampling_is_turned_to_the_bit(kind, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(pixels), kind, exif=exif, **options)
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    decoded = decode_image(content, LIMITS)
    assert (decoded == TURNS[orientation](stored)).all()
    assert orientation == 1 or (decoded != stored).any()


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_there_is_none_of_says_nothing(orientation):
    turned, plain = photo(64, 48, orientation), photo(64, 48)
    assert (decode_image(turned, LIMITS) == decode_image(plain, LIMITS)).all()


def test_greyscale_of_16_bits_is_turned_too():
    values = np.random.default_rng(0).integers(0, 65_536, (SIDE, SIDE), dtype=np.uint16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    decoded = decode_image(saved(Image.fromarray(values), "PNG", exif=exif), LIMITS)
    assert (decoded[..., 0] == np.rot90(values >> 8, -1)).all()
