"""Work ends when its time is over or its caller has hung up, and only then."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api.cancellation import deadline, while_connected
from service.errors import DeadlineExceededError


class Connection:
    """A caller that hangs up when the test says so."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def some_turns() -> None:
    """Long enough for the timer, the listener and the cancellation, one after the other."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_work_past_the_deadline_is_cancelled() -> None:
    with pytest.raises(DeadlineExceededError, match="no answer within 0 ms"):
        async with deadline(0):
            await asyncio.Event().wait()


async def test_a_timeout_of_something_else_is_left_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="a socket"):
        async with deadline(60_000):
            raise TimeoutError("a socket")


async def test_the_end_is_on_the_clock_of_the_event_loop() -> None:
    now = asyncio.get_running_loop().time()
    async with deadline(60_000) as ends_at:
        assert now + 60 <= ends_at < now + 61


async def test_who_hangs_up_ends_the_work() -> None:
    connection, ended = Connection(), []

    async def work() -> None:
        async with while_connected(connection.receive, 0):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

    working = asyncio.create_task(work())
    await some_turns()
    assert not ended
    connection.gone.set()
    with pytest.raises(ClientDisconnect):
        await working
    assert ended


async def test_work_that_is_done_before_is_not_disturbed_and_nobody_listens_on() -> None:
    connection = Connection()
    async with while_connected(connection.receive, 0):
        await some_turns()
    async with while_connected(connection.receive):  # most work is done before it listens
        await some_turns()
    connection.gone.set()
    await some_turns()
    assert connection.asked == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_comes_before_the_end_of_the_connection_is_no_end() -> None:
    messages = [{"type": "http.request", "body": b"", "more_body": False}] * 3

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async with while_connected(receive, 0):
        await some_turns()
    assert messages == []


async def test_an_error_of_the_work_itself_is_left_as_it_is() -> None:
    connection = Connection()

    async def work() -> None:
        async with while_connected(connection.receive, 0):
            await some_turns()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()


async def test_a_cancellation_from_elsewhere_is_neither_a_hang_up_nor_a_deadline() -> None:
    connection = Connection()

    async def work() -> None:
        async with deadline(60_000), while_connected(connection.receive, 0):
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await some_turns()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_deadline_that_passes_in_the_moment_of_the_hang_up_is_still_a_deadline() -> None:
    connection = Connection()

    async def work() -> None:
        async with deadline(20), while_connected(connection.receive, 0):
            await some_turns()
            connection.gone.set()
            time.sleep(0.03)  # noqa: ASYNC251 - the loop finds both when it turns again
            await asyncio.Event().wait()

    with pytest.raises(DeadlineExceededError):
        await work()


async def test_after_a_hang_up_the_task_is_not_cancelled_any_more() -> None:
    """Else the next await, sending the answer, would end it."""

    connection = Connection()
    connection.gone.set()
    with pytest.raises(ClientDisconnect):
        async with while_connected(connection.receive, 0):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await some_turns()
