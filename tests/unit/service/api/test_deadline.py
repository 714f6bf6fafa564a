from __future__ import annotations

import asyncio
import math

import pytest

from service.api.cancellation import deadline, remaining_s
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


def test_the_time_that_is_left_is_that_of_the_request() -> None:
    async def scenario() -> None:
        assert remaining_s() == math.inf
        async with deadline(60_000):
            before = remaining_s()
            await asyncio.sleep(0.002)
            assert 59 < remaining_s() <= before - 0.001 < 60
        assert remaining_s() == math.inf

    asyncio.run(scenario())


def test_requests_at_once_have_a_time_each() -> None:
    async def request(limit_ms: float) -> float:
        async with deadline(limit_ms):
            await asyncio.sleep(0)
            return await asyncio.create_task(left())

    async def left() -> float:
        return remaining_s()  # of the request that the task was started for

    async def scenario() -> None:
        short, long = await asyncio.gather(request(10_000), request(60_000))
        assert 9 < short <= 10
        assert 59 < long <= 60

    asyncio.run(scenario())


def test_the_shorter_of_two_times_counts_while_it_runs() -> None:
    async def scenario() -> None:
        async with deadline(60_000):
            async with deadline(10_000):
                assert remaining_s() <= 10
            assert remaining_s() > 50

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
