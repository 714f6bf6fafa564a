"""From the bytes of any image file to the pixels that the networks take.

    header ─► pixel count ─► decode ─► upright ─► colours ─► central square, 32 by 32

An image of 32 by 32 opaque RGB comes through untouched. Larger and smaller ones are resampled with
Pillow's Lanczos filter, whose support grows with the reduction, so that fine patterns blur instead
of turning into others. Transparent pixels are laid on white, as a page would show them.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from service.errors import TooManyPixelsError, UndecodableImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.limits import Limits

SIDE = 32
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
BACKGROUND = (255, 255, 255, 255)


def decode_image(content: bytes, limits: Limits) -> NDArray[np.uint8]:
    """Return an image's pixels, (32, 32, 3) uint8 RGB.

    Raises:
        UndecodableImageError: the bytes are no image of a type that is taken, or a damaged one.
        TooManyPixelsError: the header announces more pixels than are decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, limits)
            image.load()
            return np.array(_to_square(_to_colours(_upright(image))))
    except TooManyPixelsError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # Pillow has a limit of its own, far above any sensible one of ours, and names that one.
        size = str(exc).partition(" exceeds")[0]
        raise TooManyPixelsError(
            f"{size}; at most {limits.max_pixels:,} are decoded; send a smaller one"
        ) from exc
    except Exception as exc:  # a damaged file makes Pillow raise nearly anything
        raise UndecodableImageError(
            f"the {len(content):,} bytes are no image that can be decoded "
            f"({type(exc).__name__}); send an intact {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        ) from exc


def _check_size(image: Image.Image, limits: Limits) -> None:
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise TooManyPixelsError(
            f"the image has {pixels:,} pixels ({image.width} by {image.height}); at most "
            f"{limits.max_pixels:,} are decoded; send a smaller one"
        )


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its camera was held; an unreadable EXIF block says nothing."""
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


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


def _to_square(image: Image.Image) -> Image.Image:
    """Return the central square at 32 by 32, opaque."""
    if image.size != (SIDE, SIDE):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (SIDE, SIDE),
            Image.Resampling.LANCZOS,
            box=(left, top, left + side, top + side),
            reducing_gap=3.0,
        )
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image.convert("RGB")
