"""What runs for a caller ends when the caller hangs up, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from service.api import cancellation
from service.api.cancellation import deadline, while_connected
from service.errors import DeadlineExceededError
from service.inference.batcher import Batcher


@pytest.fixture(autouse=True)
def _listen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "LISTEN_AFTER_S", 0)


class Connection:
    """A caller that hangs up when told."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        await self.gone.wait()
        return {"type": "http.disconnect"}


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario, though not for ever: what nobody wakes up is a failure too."""

    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await scenario

    return asyncio.run(bounded())


async def some_turns() -> None:
    """Long enough for the timer, the listener and the cancellation, one after the other."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_hangs_up_ends_the_work() -> None:
    async def scenario() -> None:
        connection, ended = Connection(), []

        async def work() -> None:
            async with while_connected(connection.receive):
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

    run(scenario())


def test_work_that_is_done_before_is_not_disturbed_and_nobody_listens_on() -> None:
    async def scenario() -> None:
        connection = Connection()
        async with while_connected(connection.receive):
            await some_turns()
        connection.gone.set()
        await some_turns()
        assert connection.asked == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())


def test_work_that_is_done_soon_has_nobody_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "LISTEN_AFTER_S", 60)

    async def scenario() -> None:
        connection = Connection()
        async with while_connected(connection.receive):
            await some_turns()
        assert connection.asked == 0

    run(scenario())


def test_what_comes_before_the_end_of_the_connection_is_no_end() -> None:
    async def scenario() -> None:
        messages = [{"type": "http.request", "body": b"", "more_body": False}] * 3

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async with while_connected(receive):
            await some_turns()
        assert messages == []

    run(scenario())


def test_an_error_of_the_work_itself_is_left_as_it_is() -> None:
    async def scenario() -> None:
        connection = Connection()
        async with while_connected(connection.receive):
            await some_turns()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(scenario())


def test_a_cancellation_from_elsewhere_is_no_hang_up() -> None:
    async def scenario() -> None:
        connection = Connection()

        async def work() -> None:
            async with while_connected(connection.receive):
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await some_turns()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    run(scenario())


def test_a_deadline_that_passes_in_the_moment_of_the_hang_up_is_still_a_deadline() -> None:
    async def scenario() -> None:
        connection = Connection()
        async with deadline(20), while_connected(connection.receive):
            await some_turns()
            connection.gone.set()
            time.sleep(0.03)  # noqa: ASYNC251 - the loop finds both when it turns again
            await asyncio.Event().wait()

    with pytest.raises(DeadlineExceededError):
        run(scenario())


def test_after_a_hang_up_the_task_is_not_cancelled_any_more() -> None:
    """Else the next await, sending the answer, would end it."""

    async def scenario() -> None:
        connection = Connection()
        connection.gone.set()
        with pytest.raises(ClientDisconnect):
            async with while_connected(connection.receive):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await some_turns()

    run(scenario())


def test_who_hangs_up_while_waiting_leaves_the_queue_and_harms_nobody() -> None:
    async def scenario() -> None:
        gate, batches = asyncio.Event(), []

        async def run_batch(items: Sequence[int]) -> list[int]:
            batches.append(list(items))
            await gate.wait()
            return [item * 10 for item in items]

        batcher: Batcher[int, int] = Batcher(run_batch, capacity=9, max_batch_size=9)
        leaver, mate = Connection(), Connection()

        async def answer(item: int, connection: Connection) -> int:
            async with while_connected(connection.receive):
                return await batcher.submit(item)

        running = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(answer(1, leaver))
        staying = asyncio.create_task(answer(2, mate))
        await some_turns()
        assert (batcher.waiting, batcher.queued_size) == (2, 2)
        leaver.gone.set()
        with pytest.raises(ClientDisconnect):
            await leaving
        assert (batcher.waiting, batcher.queued_size) == (1, 1)
        gate.set()
        assert await asyncio.gather(running, staying) == [0, 20]
        assert batches == [[0], [2]]
        assert (batcher.waiting, batcher.queued_size) == (0, 0)

    run(scenario())
