"""What the routes share: decoding that stops when nobody waits for it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.limits import Limits
from service.state import ServiceState


@pytest.fixture
def state():
    """A state of which only decoding is used."""
    with ThreadPoolExecutor(1) as executor:
        unused = dict.fromkeys(
            (
                "settings",
                "provider",
                "catalogue",
                "metrics",
                "lifecycle",
                "readiness",
                "run_executor",
            )
        )
        yield ServiceState(**unused, limits=Limits(), decode_executor=executor)


def test_images_are_stacked_in_their_order(state, png):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    decoded = asyncio.run(state.decode([png(image) for image in images]))
    assert (decoded == images).all()


def test_an_abandoned_request_decodes_no_further_image(state, monkeypatch):
    begun, may_go_on = threading.Event(), threading.Event()
    decoded = []

    def decode(content, _limits):
        decoded.append(content)
        begun.set()
        assert may_go_on.wait(10)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr("service.state.decode_image", decode)

    async def abandon():
        request = asyncio.create_task(state.decode([b"1", b"2", b"3"]))
        await asyncio.to_thread(begun.wait, 10)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        may_go_on.set()

    asyncio.run(abandon())
    state.decode_executor.shutdown()
    assert decoded == [b"1"]
