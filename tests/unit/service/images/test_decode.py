"""Any image file becomes RGB bytes of the model's size, or an error that the sender can act on."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import TooManyPixelsError, UndecodableImageError
from service.settings import Limits
from tests.images import decode_image

LIMITS = Limits()
GENERATOR = np.random.default_rng(0)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size=(32, 32), channels=3):
    shape = (*size, channels) if channels > 1 else size
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def flat(mode, colour, size=(32, 32)):
    return Image.new(mode, size, colour)


def decode(image, kind="PNG", **options):
    return decode_image(encoded(image, kind, **options), LIMITS)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_a_lossless_image_of_the_right_size_comes_through_to_the_bit(kind, options):
    pixels = noise()
    decoded = decode(Image.fromarray(pixels), kind, **options)
    assert decoded.dtype == np.uint8
    assert (decoded == pixels).all()


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_a_lossy_image_comes_through_nearly(kind):
    decoded = decode(flat("RGB", (200, 100, 50)), kind).astype(int)
    assert decoded.shape == (32, 32, 3)
    assert abs(decoded - [200, 100, 50]).max() <= 4


def test_an_unreadable_exif_block_says_nothing():
    pixels = noise()
    assert (
        decode(Image.fromarray(pixels), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff") == pixels
    ).all()


@pytest.mark.parametrize(
    ("image", "options", "expected"),
    [
        (flat("RGBA", (200, 0, 0, 0)), {}, (255, 255, 255)),
        (flat("RGBA", (200, 0, 0, 255)), {}, (200, 0, 0)),
        (flat("RGBA", (0, 0, 0, 51)), {}, (204, 204, 204)),
        (flat("LA", (100, 255)), {}, (100, 100, 100)),
        (flat("LA", (100, 0)), {}, (255, 255, 255)),
        (flat("RGB", (9, 8, 7)), {"transparency": (9, 8, 7)}, (255, 255, 255)),
        (flat("RGB", (9, 8, 7)).quantize(4), {}, (9, 8, 7)),
        (flat("RGB", (9, 8, 7)).quantize(4), {"transparency": 0}, (255, 255, 255)),
        (flat("1", 1), {}, (255, 255, 255)),
        (flat("L", 77), {}, (77, 77, 77)),
        (flat("I;16", 65_535), {}, (255, 255, 255)),
        (flat("I;16", 32_896), {}, (128, 128, 128)),
        (flat("I;16", 257), {}, (1, 1, 1)),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(image, options, expected):
    assert np.unique(decode(image, **options).reshape(-1, 3), axis=0).tolist() == [list(expected)]


def test_the_grey_value_that_means_transparent_is_so_in_16_bits_too():
    pixels = np.full((32, 32), 32_896, np.uint16)
    pixels[:, 16:] = 32_897  # the same high byte, yet not the transparent value
    content = bytearray(encoded(Image.fromarray(pixels)))
    chunk = b"tRNS" + struct.pack(">H", 32_896)
    content[33:33] = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    decoded = decode_image(bytes(content), LIMITS)
    assert (decoded[:, :16] == 255).all()
    assert (decoded[:, 16:] == 128).all()


def test_pillows_own_conversion_of_16_bits_would_be_noticed():
    assert flat("I;16", 32_896).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_becomes_the_colour_that_is_meant():
    decoded = decode(flat("CMYK", (0, 255, 255, 0)), "JPEG").astype(int)
    assert abs(decoded - [255, 0, 0]).max() <= 6


def test_of_an_animation_the_first_frame_counts():
    frames = [flat("RGB", (255, 0, 0)), flat("RGB", (0, 0, 255))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(content, LIMITS)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("upright", [False, True])
def test_the_central_square_is_what_counts(upright):
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = 255  # the sides are black
    pixels = pixels.transpose(1, 0, 2) if upright else pixels
    decoded = decode(Image.fromarray(np.ascontiguousarray(pixels)))
    # The filter reaches three source pixels of 64/32 beyond the crop's edge at most.
    assert decoded[2:-2, 2:-2].min() >= 250


def test_fine_patterns_blur_instead_of_turning_into_others():
    board = ((np.indices((512, 512)).sum(axis=0) % 2) * 255).astype(np.uint8)
    decoded = decode(Image.fromarray(board)).astype(int)
    assert abs(decoded - 127.5).max() < 3
    nearest = np.asarray(Image.fromarray(board).resize((32, 32), Image.Resampling.NEAREST))
    assert set(np.unique(nearest)) <= {0, 255}


def test_transparent_pixels_lend_their_neighbours_no_colour():
    """Red under full transparency must not bleed into the white beside it."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[:, 32:] = (255, 255, 255, 255)
    assert (decode(Image.fromarray(pixels)) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (2000, 1), (1, 2000), (33, 32), (7, 5)])
def test_any_size_becomes_32_by_32(size):
    decoded = decode(flat("RGB", (10, 20, 30), size))
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]


def tiff():
    return encoded(flat("RGB", (1, 2, 3)), "TIFF")


PNG = encoded(Image.fromarray(noise()))


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", tiff(), PNG[:-200], PNG[:50]],
    ids=["empty", "text", "svg", "tiff", "cut off", "header only"],
)
def test_what_is_no_image_is_refused_with_what_to_send(content):
    with pytest.raises(
        UndecodableImageError, match=rf"the {len(content):,} bytes .*send an intact PNG"
    ):
        decode_image(content, LIMITS)


def announcing(width, height):
    """Return a PNG whose header announces this size; it has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT5\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    "size", [(8_000, 8_000), (10_000, 10_000), (40_000, 40_000), (2**31 - 1, 1)]
)
def test_too_many_pixels_are_refused_before_they_take_memory(size):
    tracemalloc.start()
    before = images_allocated()
    with pytest.raises(
        TooManyPixelsError, match=r"pixels\b[^;]*; at most 40,000,000 are decoded; send"
    ):
        decode_image(announcing(*size), LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images_allocated() == before
    assert peak < 1_000_000


def images_allocated():
    """Return how many images Pillow has allocated so far; tracemalloc sees none of them."""
    return Image.core.get_stats()["new_count"]


def test_an_allocated_image_would_be_noticed():
    before = images_allocated()
    decode_image(PNG, LIMITS)
    assert images_allocated() > before


def test_the_limit_itself_is_still_decoded():
    content = encoded(flat("RGB", (1, 2, 3), (20, 20)))
    assert decode_image(content, Limits(max_pixels=400)).shape == (32, 32, 3)
    with pytest.raises(TooManyPixelsError, match=r"400 pixels \(20 by 20\); at most 399"):
        decode_image(content, Limits(max_pixels=399))
