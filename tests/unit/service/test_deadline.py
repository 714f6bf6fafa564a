from __future__ import annotations

import asyncio

import pytest

from service.deadline import deadline
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
