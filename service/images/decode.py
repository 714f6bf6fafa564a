"""From the bytes of any image file to the pixels that the networks take.

    header ─► pixel count ─► decode ─► colours ─► central part, resampled ─► upright

The model's `ImageSpec` says how large an image is to be. One of that size, opaque RGB, comes
through untouched. Larger and smaller ones are resampled with Pillow's Lanczos filter, whose support
grows with the reduction, so that fine patterns blur instead of turning into others. Transparent
pixels are laid on white, as a page would show them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from models.manifest import ImageSpec
from service.errors import RequestError, TooManyPixelsError, UndecodableImageError
from service.settings import Limits

DRAFT_GAP = 4  # times the size that a draft keeps at least, for the filter to work on
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# Where Pillow looks for an orientation; most images have none of them and spare the search.
ORIENTING = {"exif", "Raw profile type exif", "Raw profile type APP1", "xmp", "XML:com.adobe.xmp"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)  # turns that make widths of heights
BACKGROUND = (255, 255, 255, 255)


class EncodedImage:
    """An image file of which only the header has been read.

    Args:
        content: the file's bytes.
        limits: how many pixels may be decoded.

    Raises:
        UndecodableImageError: the bytes are no image of a type that is taken.
        TooManyPixelsError: the header announces more pixels than are decoded.
    """

    def __init__(self, content: bytes, limits: Limits) -> None:
        self._size = len(content)
        self._limits = limits
        with self._explained():
            self._image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_size(self._image, limits)

    @property
    def pixels(self) -> int:
        """How many pixels decoding it takes, as the header announces."""
        return self._image.width * self._image.height

    def decode(self, spec: ImageSpec) -> NDArray[np.uint8]:
        """Return the pixels as a model takes them, (H, W, 3) uint8 RGB.

        Raises:
            UndecodableImageError: the file is damaged.
        """
        with self._explained(), self._image as image:
            height, width, _ = spec.image_shape
            # A big photo is decoded at a fraction of its size: JPEG stores it by frequencies.
            gap = DRAFT_GAP * max(height, width)
            draft = image.draft(None, (gap, gap))
            image.load()
            # The last block of a draft lies partly beyond the photo: its edge is within a pixel.
            extent = draft[1][2:] if draft else image.size
            turn = _turn(image)
            size = (height, width) if turn in SWAPPING else (width, height)
            part = _resampled(_to_colours(image), extent, size)
            if turn is not None:
                part = part.transpose(turn)
            return np.frombuffer(part.tobytes(), np.uint8).reshape(spec.image_shape)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TooManyPixelsError:
            raise
        except Exception as exc:  # a damaged file makes Pillow raise nearly anything
            raise _refusal(exc, self._size, self._limits) from exc


def _refusal(exc: Exception, size: int, limits: Limits) -> RequestError:
    """Return the error that the caller gets for one of Pillow's."""
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        # Pillow has a limit of its own, far above any sensible one of ours, and names that one.
        found = str(exc).partition(" exceeds")[0]
        return TooManyPixelsError(
            f"{found}; at most {limits.max_pixels:,} are decoded; send a smaller one"
        )
    return UndecodableImageError(
        f"the {size:,} bytes are no image that can be decoded ({type(exc).__name__}); "
        f"send an intact {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    )


def _check_size(image: Image.Image, limits: Limits) -> None:
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise TooManyPixelsError(
            f"the image has {pixels:,} pixels ({image.width} by {image.height}); at most "
            f"{limits.max_pixels:,} are decoded; send a smaller one"
        )


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn the image as its camera was held; unreadable EXIF says nothing."""
    if ORIENTING.isdisjoint(image.info):
        return None
    with contextlib.suppress(Exception):
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _to_colours(image: Image.Image) -> Image.Image:
    """Return the image as RGB, or as RGBA where it has any kind of transparency."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Return the high bytes of a greyscale image of 16 bits; Pillow's conversion clips at 255."""
    values = np.asarray(image)  # (H, W) uint16
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    opaque = values != image.info["transparency"]  # one grey value says that nothing is there
    grey.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return grey.convert("RGBA")


def _resampled(
    image: Image.Image, extent: tuple[float, float], size: tuple[int, int]
) -> Image.Image:
    """Return the largest central part that has the proportions of `size`, at that size, opaque.

    `extent` is the part of the image that counts, from its upper left corner; both are widths and
    heights in pixels.
    """
    if image.size != size:
        scale = min(extent[0] / size[0], extent[1] / size[1])
        width, height = scale * size[0], scale * size[1]
        left, top = (extent[0] - width) / 2, (extent[1] - height) / 2
        image = image.resize(
            size,
            Image.Resampling.LANCZOS,
            box=(left, top, left + width, top + height),
            reducing_gap=3.0,
        )
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image if image.mode == "RGB" else image.convert("RGB")
