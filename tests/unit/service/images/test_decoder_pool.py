"""Where images are decoded, and how many of their pixels at once."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models.manifest import ImageSpec
from service.images import decoder_pool
from service.images.decode import EncodedImage
from service.images.decoder_pool import Budget, Decoder
from service.settings import Limits
from tests.images import SPEC, decode_image

LIMITS = Limits()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(LIMITS, threads=1)
    yield decoder
    decoder.close()


@pytest.fixture
def threads_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that decoded, one for each image."""
    names: list[str] = []
    decode = EncodedImage.decode

    def recording(self: EncodedImage, spec: ImageSpec) -> NDArray[np.uint8]:
        names.append(threading.current_thread().name)
        return decode(self, spec)

    monkeypatch.setattr(EncodedImage, "decode", recording)
    return names


def test_images_are_stacked_in_their_order(
    decoder: Decoder, png: Callable[[NDArray[np.uint8]], bytes]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    decoded = asyncio.run(decoder.decode([png(image) for image in images], SPEC))
    assert (decoded == images).all()


def test_small_images_are_decoded_at_once_and_large_ones_on_a_thread(
    decoder: Decoder, png: Callable[[NDArray[np.uint8]], bytes], threads_used: list[str]
) -> None:
    small, large = np.zeros((32, 32, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)
    asyncio.run(decoder.decode([png(small)], SPEC))
    asyncio.run(decoder.decode([png(large)], SPEC))
    assert threads_used[0] == threading.current_thread().name
    assert threads_used[1].startswith("decode")


def test_many_small_images_are_as_good_as_a_large_one(
    decoder: Decoder, png: Callable[[NDArray[np.uint8]], bytes], threads_used: list[str]
) -> None:
    image = png(np.zeros((32, 32, 3), np.uint8))
    asyncio.run(decoder.decode([image] * 17, SPEC))  # 17 * 1024 pixels
    assert {name.split("_")[0] for name in threads_used} == {"decode"}


def test_an_abandoned_request_decodes_no_further_image(
    decoder: Decoder,
    png: Callable[[NDArray[np.uint8]], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    decoded: list[int] = []

    def decode(_self: EncodedImage, _spec: ImageSpec) -> NDArray[np.uint8]:
        decoded.append(1)
        begun.set()
        assert may_go_on.wait(10)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(EncodedImage, "decode", decode)
    large = png(np.zeros((200, 200, 3), np.uint8))

    async def abandon() -> None:
        request = asyncio.create_task(decoder.decode([large] * 3, SPEC))
        await asyncio.to_thread(begun.wait, 10)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        may_go_on.set()
        await asyncio.wait_for(decoder._budget.acquire(LIMITS.max_pixels), 10)  # all is given back

    asyncio.run(abandon())
    assert decoded == [1]


def test_large_images_wait_for_the_pixels_of_others(
    png: Callable[[NDArray[np.uint8]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pool, "MAX_PIXELS_AT_ONCE", 50_000)
    decoder = Decoder(LIMITS, threads=4)
    at_once = most = 0
    lock = threading.Lock()
    decode = EncodedImage.decode

    def counting(self: EncodedImage, spec: ImageSpec) -> NDArray[np.uint8]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return decode(self, spec)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(EncodedImage, "decode", counting)
    large = png(np.zeros((200, 200, 3), np.uint8))  # 40,000 pixels: one fits

    async def scenario() -> None:
        await asyncio.gather(*(decoder.decode([large], SPEC) for _ in range(6)))

    asyncio.run(scenario())
    decoder.close()
    assert most == 1


@given(
    parts=st.lists(st.integers(1, 15), min_size=1, max_size=12),
    leaves=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_no_more_is_lent_than_there_is_but_to_one_alone(
    parts: list[int], leaves: list[bool]
) -> None:
    whole, lent, served = 10, [], []

    async def borrow(budget: Budget, index: int, part: int) -> None:
        await budget.acquire(part)
        lent.append(part)
        served.append(index)
        assert sum(lent) <= whole or len(lent) == 1
        try:
            await asyncio.sleep(0)
        finally:
            lent.remove(part)
            budget.release(part)

    async def scenario() -> None:
        budget = Budget(whole)
        tasks = [
            asyncio.create_task(borrow(budget, index, part)) for index, part in enumerate(parts)
        ]
        await asyncio.sleep(0)
        for task, leave in zip(tasks, leaves, strict=False):
            if leave and not task.done():
                task.cancel()
                break  # one leaves, while it waits or while it holds its part
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert served == sorted(served), "first come, first served"
    assert len(served) >= len(parts) - 1


def photo(width: int, height: int) -> bytes:
    """Return a JPEG with structure at every scale that survives in 32 pixels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(x * k / width * 6 + c) * np.cos(y * k / height * 5) for c, k in enumerate((1, 2, 4))
    ]
    pixels = (127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_a_big_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    encoded = EncodedImage(photo(2000, 1500), LIMITS)
    image = encoded._image
    drafted = encoded.decode(SPEC)
    assert image.size == (250, 188)
    full = Image.open(io.BytesIO(photo(2000, 1500)))
    reference = np.asarray(
        full.resize((32, 32), Image.Resampling.LANCZOS, box=(250, 0, 1750, 1500))
    )
    # The draft averages blocks of 8 by 8, whose centres lie up to half a block off; over 47 of the
    # photo's pixels in each of ours that is a tenth of a pixel.
    assert np.abs(drafted.astype(int) - reference).max() <= 12
    assert np.abs(drafted.astype(int) - reference).mean() < 2


def test_a_small_jpeg_is_decoded_in_full() -> None:
    encoded = EncodedImage(photo(100, 100), LIMITS)
    image = encoded._image
    encoded.decode(SPEC)
    assert image.size == (100, 100)


@pytest.mark.parametrize("file_type", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_turned_upright(file_type: str) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_type, exif=exif)
    upright = decode_image(buffer.getvalue(), LIMITS)
    assert upright[:8].mean() < 30
    assert upright[-8:].mean() > 220
