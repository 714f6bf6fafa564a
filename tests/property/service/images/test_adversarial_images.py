"""Whatever the bytes: an image, or one of the two errors that the sender can act on."""

import contextlib
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import TooManyPixelsError, UndecodableImageError
from service.settings import Limits
from tests.images import decode_image

LIMITS = Limits(max_pixels=1_000_000)
BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)


def sample(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


SAMPLES = [sample(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF")]


@st.composite
def mutated(draw):
    """Return a real file with some bytes changed, cut out or put in, and perhaps cut short."""
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(content) - 1))
        # Headers are where a changed byte has most to say.
        place = draw(st.sampled_from([place, place % 64]))
        length = draw(st.integers(0, 4))
        content[place : place + length] = draw(st.binary(max_size=4))
        if not content:
            break
    end = draw(st.integers(0, len(content)))
    return bytes(content[: draw(st.sampled_from([len(content), end]))])


def decodes_or_refuses(content):
    with contextlib.suppress(UndecodableImageError, TooManyPixelsError):
        pixels = decode_image(content, LIMITS)
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8


@BOUNDED
@given(mutated())
def test_a_damaged_file_is_decoded_or_refused(content):
    decodes_or_refuses(content)


@BOUNDED
@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF"]),
    st.binary(),
)
def test_arbitrary_bytes_are_refused_also_after_a_real_beginning(start, rest):
    decodes_or_refuses(start + rest)
