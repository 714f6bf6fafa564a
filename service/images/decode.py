"""From the bytes of any image file to the pixels that the networks take, within limits.

header ─► pixel count ─► what the model's `ImageSpec` says (`models.preprocessing`)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.preprocessing import FORMATS, pixels_at_once, preprocess
from models.tensors import ImageSpec
from service.errors import RequestError, TooManyPixelsError, UndecodableImageError
from service.settings import Limits


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

    def pixels(self, spec: ImageSpec) -> int:
        """Return how many pixels decoding it for a model takes, as the header announces."""
        return pixels_at_once(self._image.size, spec)

    def decode(self, spec: ImageSpec) -> NDArray[np.uint8]:
        """Return the pixels as a model takes them, (H, W, C) uint8.

        The image then keeps all of its own pixels for as long as it is referred to.

        Raises:
            UndecodableImageError: the file is damaged.
        """
        with self._explained(), self._image as image:
            return preprocess(image, spec)

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
