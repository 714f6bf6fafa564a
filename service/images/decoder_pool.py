"""Where images are decoded: small ones at once, large ones on threads, within a budget of pixels.

A thumbnail takes less time than handing it to a thread. A large image would keep the event loop,
and many of them at once would take memory by the gigabyte: at most `MAX_PIXELS_AT_ONCE` are being
decoded, or one image alone if it has more. Large is what an image is, or what the model's rule
makes of it before the crop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from models.tensors import ImageSpec
from service.errors import DeadlineExceededError
from service.images.decode import EncodedImage
from service.images.pixel_budget import Budget
from service.settings import Limits

PIXELS_ON_LOOP = 128 * 128  # of all images of a request; some 0.5 ms
MAX_PIXELS_AT_ONCE = 40_000_000


class Decoder:
    """Decodes the images of requests on the event loop or on threads of its own.

    Args:
        limits: how many pixels one image may have.
        threads: how many images are decoded in parallel.
        max_pixels_at_once: of all of them together.
        open_image: reads the header of an image file.
    """

    def __init__(
        self,
        limits: Limits,
        threads: int,
        max_pixels_at_once: int = MAX_PIXELS_AT_ONCE,
        open_image: Callable[[bytes, Limits], EncodedImage] = EncodedImage,
    ) -> None:
        self._limits = limits
        self._open = open_image
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._budget = Budget(max_pixels_at_once)

    async def decode(self, contents: Sequence[bytes], spec: ImageSpec) -> NDArray[np.uint8]:
        """Return images (N, H, W, C) as a model takes them, in the order of their files.

        Raises:
            UndecodableImageError: one of them is no image of a type that is taken.
            TooManyPixelsError: one of them announces more pixels than are decoded.
        """
        encoded = deque(self._open(content, self._limits) for content in contents)
        pixels = [image.pixels(spec) for image in encoded]
        if sum(pixels) <= PIXELS_ON_LOOP:
            return _stack([image.decode(spec) for image in encoded])
        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        largest = max(pixels)  # they are decoded one after the other
        await self._budget.acquire(largest)
        work = loop.run_in_executor(self._pool, _decode, encoded, spec, abandoned)
        work.add_done_callback(lambda _: self._budget.release(largest))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            abandoned.set()  # the thread cannot be stopped, but it need not begin the next image
            raise

    def close(self) -> None:
        """End the threads; what waits for one is dropped."""
        self._pool.shutdown(cancel_futures=True)


def _decode(
    encoded: deque[EncodedImage], spec: ImageSpec, abandoned: threading.Event
) -> NDArray[np.uint8]:
    images = []
    while encoded:
        if abandoned.is_set():
            raise DeadlineExceededError("nobody waits for these images any more")
        images.append(encoded.popleft().decode(spec))  # let go: it keeps its pixels
    return _stack(images)


def _stack(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return images[0][None] if len(images) == 1 else np.stack(images)
