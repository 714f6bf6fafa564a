"""Where images are decoded, and how many of their pixels at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from models.tensors import ImageSpec
from service.images.decode import EncodedImage
from service.images.decoder_pool import Decoder
from service.settings import Limits
from tests.images import SPEC

Png = Callable[[NDArray[np.uint8]], bytes]

LIMITS = Limits()
LARGE = np.zeros((200, 200, 3), np.uint8)  # 40,000 pixels: more than are decoded on the loop


class Recorder:
    """Opens images that note by which threads they are decoded, and how many at once.

    They wait at a gate before they are.
    """

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.at_once = self.most_at_once = 0
        self.begun, self.two_at_once, self.gate = (threading.Event() for _ in range(3))
        self.gate.set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        with self._lock:
            self.threads.append(threading.current_thread().name.split("_")[0])
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            if self.at_once == 2:
                self.two_at_once.set()
        self.begun.set()
        assert self.gate.wait(10)
        yield
        with self._lock:
            self.at_once -= 1

    def __call__(self, content: bytes, limits: Limits) -> EncodedImage:
        recorder = self

        class Recorded(EncodedImage):
            def decode(self, spec: ImageSpec) -> NDArray[np.uint8]:
                with recorder.decoding():
                    return super().decode(spec)

        return Recorded(content, limits)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def decoder(recorder: Recorder) -> Iterator[Decoder]:
    """Decodes one large image at a time."""
    decoder = Decoder(LIMITS, threads=4, max_pixels_at_once=50_000, open_image=recorder)
    yield decoder
    decoder.close()


def test_images_are_stacked_in_their_order(decoder: Decoder, png: Png) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    decoded = asyncio.run(decoder.decode([png(image) for image in images], SPEC))
    assert (decoded == images).all()


def test_small_images_are_decoded_at_once_and_large_and_many_ones_on_a_thread(
    decoder: Decoder, png: Png, recorder: Recorder
) -> None:
    small = png(np.zeros((32, 32, 3), np.uint8))
    here = threading.current_thread().name
    for contents, thread in (([small], here), ([png(LARGE)], "decode"), ([small] * 17, "decode")):
        recorder.threads.clear()
        asyncio.run(decoder.decode(contents, SPEC))
        assert recorder.threads == [thread] * len(contents)


def test_small_images_that_grow_are_decoded_on_a_thread(
    decoder: Decoder, png: Png, recorder: Recorder
) -> None:
    """64 images of 2 by 128 pixels, resized to 256 by 16,384 each, kept the loop for 7 seconds."""
    thin = png(np.zeros((2, 128, 3), np.uint8))
    shape = ("N", 32, 32, 3)
    grown = ImageSpec("image", "uint8", shape, resize="shortest-side", resize_to=(36,))
    asyncio.run(decoder.decode([thin], grown))
    asyncio.run(decoder.decode([thin], SPEC))
    assert recorder.threads == ["decode", threading.current_thread().name]


def test_the_pixels_of_an_image_are_let_go_before_the_next_is_decoded(
    png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of 64 flat images of 40 million pixels would take 10 GB otherwise."""
    decoded: list[weakref.ref[EncodedImage]] = []
    alive: list[int] = []
    decode = EncodedImage.decode

    def noted(self: EncodedImage, spec: ImageSpec) -> NDArray[np.uint8]:
        gc.collect()
        alive.append(sum(image() is not None for image in decoded))
        decoded.append(weakref.ref(self))
        return decode(self, spec)

    monkeypatch.setattr(EncodedImage, "decode", noted)
    decoder = Decoder(LIMITS, threads=1)
    asyncio.run(decoder.decode([png(LARGE)] * 4, SPEC))
    decoder.close()
    assert alive == [0] * 4


async def test_an_abandoned_request_decodes_no_further_image_and_frees_its_pixels(
    decoder: Decoder, png: Png, recorder: Recorder
) -> None:
    recorder.gate.clear()

    request = asyncio.create_task(decoder.decode([png(LARGE)] * 3, SPEC))
    await asyncio.to_thread(recorder.begun.wait, 10)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    recorder.gate.set()
    async with asyncio.timeout(10):
        await decoder.decode([png(LARGE)], SPEC)
    assert len(recorder.threads) == 2


async def test_large_images_wait_for_the_pixels_of_others(
    decoder: Decoder, png: Png, recorder: Recorder
) -> None:
    await asyncio.gather(*(decoder.decode([png(LARGE)], SPEC) for _ in range(6)))
    assert (len(recorder.threads), recorder.most_at_once) == (6, 1)


async def test_without_that_bound_they_are_decoded_in_parallel(
    png: Png, recorder: Recorder
) -> None:
    """The negative control."""
    recorder.gate.clear()
    decoder = Decoder(LIMITS, threads=4, open_image=recorder)

    requests = [asyncio.create_task(decoder.decode([png(LARGE)], SPEC)) for _ in range(2)]
    async with asyncio.timeout(10):
        await asyncio.to_thread(recorder.two_at_once.wait, 10)
        recorder.gate.set()
        await asyncio.gather(*requests)
    decoder.close()
    assert recorder.most_at_once == 2
