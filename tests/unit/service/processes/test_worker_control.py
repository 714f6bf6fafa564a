from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from models.bundle import BundleError
from service.errors import DrainingError, ModelRefusedError, UnknownModelError
from service.processes.worker_control import BUFFER_BYTES, MAX_REASON, SupervisedCoordinator

SECONDS = 10  # for anything


class FakeRepository:
    """Notes its calls; fails as the test says."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[tuple[str, ...]] = []
        self.served = ["tiny-bn@1.0.0"]

    async def prepare(self, action: str, name: str) -> None:
        self.calls.append(("prepare", action, name))
        if self.failure is not None:
            raise self.failure

    def commit(self) -> None:
        self.calls.append(("commit",))
        self.served = []

    def abandon(self) -> None:
        self.calls.append(("abandon",))


class Supervisor:
    """The other end of the channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def receive(self) -> Any:
        return json.loads(await asyncio.wait_for(self.reader.readline(), SECONDS))

    def say(self, **message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """What SIGTERM this process sends itself, instead of the end of the tests."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def connected(
    repository: FakeRepository,
) -> AsyncIterator[tuple[SupervisedCoordinator, Supervisor]]:
    """A coordinator that has started, and its supervisor, which has received that."""
    ours, theirs = socket.socketpair()
    coordinator = SupervisedCoordinator(theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    supervisor = Supervisor(reader, writer)
    await coordinator.start(repository)  # type: ignore[arg-type]
    assert await supervisor.receive() == {"kind": "serving", "models": ["tiny-bn@1.0.0"]}
    yield coordinator, supervisor
    coordinator._listening.cancel()  # type: ignore[union-attr]
    coordinator._writer.close()  # type: ignore[union-attr]
    writer.close()


async def test_a_change_is_prepared_then_committed_and_what_is_served_reported() -> None:
    repository = FakeRepository()
    async with connected(repository) as (_, supervisor):
        supervisor.say(kind="prepare", number=7, action="load", name="tiny-bn")
        assert await supervisor.receive() == {
            "kind": "prepared",
            "number": 7,
            "error": None,
            "reason": None,
        }
        assert repository.calls == [("prepare", "load", "tiny-bn")]
        supervisor.say(kind="commit", number=7)
        assert await supervisor.receive() == {"kind": "committed", "number": 7, "models": []}
        assert repository.calls[1:] == [("commit",)]


async def test_a_change_that_is_abandoned_is_not_made() -> None:
    repository = FakeRepository()
    async with connected(repository) as (_, supervisor):
        supervisor.say(kind="prepare", number=1, action="unload", name="tiny-bn")
        await supervisor.receive()
        supervisor.say(kind="abandon", number=1)
        supervisor.say(kind="prepare", number=2, action="unload", name="tiny-bn")
        await supervisor.receive()
        assert [call[0] for call in repository.calls] == ["prepare", "abandon", "prepare"]


@pytest.mark.parametrize("refusal", [UnknownModelError, ModelRefusedError, BundleError])
async def test_a_refusal_is_voted_with_its_reason_cut_where_it_is_long(refusal: Any) -> None:
    repository = FakeRepository(refusal("x" * 2 * BUFFER_BYTES))
    async with connected(repository) as (_, supervisor):
        supervisor.say(kind="prepare", number=1, action="load", name="tiny-bn")
        vote = await supervisor.receive()
        assert (vote["error"], vote["reason"]) == (refusal.__name__, "x" * MAX_REASON)


async def test_a_failure_is_voted_without_its_details_which_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected(FakeRepository(RuntimeError("secret"))) as (_, supervisor):
        supervisor.say(kind="prepare", number=1, action="load", name="tiny-bn")
        vote = await supervisor.receive()
    assert vote["error"] == "ModelRefusedError"
    assert "secret" not in vote["reason"]
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ("UnknownModelError", UnknownModelError),
        ("BundleError", BundleError),
        ("ModelRefusedError", ModelRefusedError),
        ("DrainingError", DrainingError),
    ],
)
async def test_a_refusal_reaches_the_worker_that_asked(error: str, raised: Any) -> None:
    async with connected(FakeRepository()) as (coordinator, supervisor):
        asking = asyncio.create_task(coordinator.change("load", "tiny-bn"))
        asked = await supervisor.receive()
        assert (asked["kind"], asked["action"], asked["name"]) == ("change", "load", "tiny-bn")
        supervisor.say(kind="done", number=asked["number"], error=error, reason="because")
        with pytest.raises(raised, match="because"):
            await asyncio.wait_for(asking, SECONDS)


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_who_ask_get_the_answer_to_their_own_question(order: str) -> None:
    async with connected(FakeRepository()) as (coordinator, supervisor):
        asking = {n: asyncio.create_task(coordinator.change("load", n)) for n in "ab"}
        asked = {one["name"]: one["number"] for one in [await supervisor.receive() for _ in "ab"]}
        first, second = order
        supervisor.say(kind="done", number=asked[first], error=None, reason=None)
        await asyncio.wait_for(asking[first], SECONDS)
        assert not asking[second].done()
        supervisor.say(kind="done", number=asked[second], error="BundleError", reason="late")
        with pytest.raises(BundleError, match="late"):
            await asyncio.wait_for(asking[second], SECONDS)


async def test_without_its_supervisor_a_worker_drains_and_nobody_waits_for_an_answer(
    signals: list[int],
) -> None:
    async with connected(FakeRepository()) as (coordinator, supervisor):
        asking = asyncio.create_task(coordinator.change("load", "tiny-bn"))
        await supervisor.receive()
        assert signals == []
        supervisor.writer.close()
        with pytest.raises(DrainingError):
            await asyncio.wait_for(asking, SECONDS)
        with pytest.raises(DrainingError):
            await asyncio.wait_for(coordinator.change("load", "tiny-bn"), SECONDS)
    assert signals == [signal.SIGTERM]


async def test_an_order_that_cannot_be_followed_ends_the_worker(
    signals: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeRepository):
        def commit(self) -> None:
            raise AssertionError("nothing was prepared")

    async with connected(Broken()) as (coordinator, supervisor):
        supervisor.say(kind="commit", number=1)
        await asyncio.wait_for(coordinator._listening, SECONDS)  # type: ignore[arg-type]
    assert signals == [signal.SIGTERM]
    assert "nothing was prepared" in caplog.text


def test_a_loop_that_ends_after_draining_sends_no_signal(signals: list[int]) -> None:
    async def check() -> None:
        async with connected(FakeRepository()):
            pass

    asyncio.run(check())
    assert signals == []
