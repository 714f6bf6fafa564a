from __future__ import annotations

import asyncio

import pytest

from service.api.cancellation import deadline
from service.errors import DeadlineExceededError


def test_work_past_the_deadline_is_cancelled() -> None:
    async def scenario() -> None:
        async with deadline(0):
            await asyncio.Event().wait()

    with pytest.raises(DeadlineExceededError, match="no answer within 0 ms"):
        asyncio.run(scenario())


def test_a_timeout_of_something_else_is_left_as_it_is() -> None:
    async def scenario() -> None:
        async with deadline(60_000):
            raise TimeoutError("a socket")

    with pytest.raises(TimeoutError, match="a socket"):
        asyncio.run(scenario())


def test_the_end_is_on_the_clock_of_the_event_loop() -> None:
    async def scenario() -> None:
        now = asyncio.get_running_loop().time()
        async with deadline(60_000) as ends_at:
            assert now + 60 <= ends_at < now + 61

    asyncio.run(scenario())


def test_a_cancellation_from_elsewhere_is_no_deadline() -> None:
    async def work() -> None:
        async with deadline(60_000):
            await asyncio.Event().wait()

    async def scenario() -> None:
        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    asyncio.run(scenario())
