"""A clock that jumps, and a server that is a function."""

import asyncio
import json
import selectors

import pytest

from training.client.connection import Reply


class JumpingSelector(selectors.SelectSelector):
    """Does not wait: moves its loop's clock on by as much."""

    loop = None

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in no time."""

    def __init__(self):
        self.now = 0.0
        selector = JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.now


@pytest.fixture
def run():
    """Run a coroutine on a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner.run


class FakeConnection:
    """Answers by a function of the payload and of the time at which it came.

    The function returns a reply and the time at which it is ready, or raises.
    """

    def __init__(self, answer):
        self.answer = answer
        self.payloads = []

    async def post(self, payload):
        self.payloads.append(payload)
        now = asyncio.get_running_loop().time()
        reply, ready = self.answer(payload, now)
        await asyncio.sleep(max(0.0, ready - now))
        return reply


@pytest.fixture
def fake():
    return FakeConnection


@pytest.fixture
def problem():
    """Makes a reply with a status and, by choice, a detail and Retry-After."""

    def make(status, detail="", retry_after=None):
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return Reply(status, headers, json.dumps({"detail": detail}).encode())

    return make
