"""The load: an open loop that keeps its schedule, and a closed one that waits for answers.

    open     arrivals ─► due now? ─► a task of its own ─► sample     the schedule never waits
    closed   each connection: send ─► wait ─► sample ─► again        a slow server slows the load

In a closed loop a server that stalls is asked less just then, so the stall hardly shows in the
percentiles ("coordinated omission"). The open loop counts from the time at which a request was due.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from training.client.connection import Connection, Reply
from training.client.errors import ClientError
from training.client.load.samples import Recording, Sample, Window
from training.client.requests import Payload

MAX_OPEN = 900  # a process may open 1,024 files as a rule, and has others open


@dataclass(frozen=True)
class PreparedRequest:
    """A request to send, and how many of its answers are wrong, asked of each accepted reply."""

    payload: Payload
    mismatches: Callable[[Reply], int] | None = None


@dataclass(frozen=True)
class Load:
    """What is common to both loops.

    Args:
        connection: where to send.
        requests: endless, sent one after the other.
        duration_s: how long requests count, after `warmup_s` seconds in which they do not.
        max_open: requests of an open loop that may be under way at once. Further ones wait for one
            to end: their latency goes on counting, and how many waited is recorded.
    """

    connection: Connection
    requests: Iterator[PreparedRequest]
    duration_s: float
    warmup_s: float = 0.0
    max_open: int = MAX_OPEN

    async def open_loop(self, arrivals: Iterator[float]) -> Recording:
        """Send at the times that are given, in seconds from now; return when all are answered."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(self.max_open)
        start = loop.time()
        recording = self._recording(start)
        cpu = _CpuMeter()
        due = itertools.takewhile(
            lambda moment: moment < recording.window.end, (start + offset for offset in arrivals)
        )
        async with asyncio.TaskGroup() as tasks:
            for scheduled in due:
                # Even when late: answers are to be read in between.
                await asyncio.sleep(max(0.0, scheduled - loop.time()))
                recording.held_back += places.locked()
                await places.acquire()
                task = tasks.create_task(self._send(recording, scheduled, next(self.requests)))
                task.add_done_callback(lambda _task: places.release())
            recording.cpu_share = cpu.share()
        return recording

    async def closed_loop(self, connections: int) -> Recording:
        """Keep so many requests under way, each followed by the next as soon as it is answered."""
        loop = asyncio.get_running_loop()
        recording = self._recording(loop.time())
        cpu = _CpuMeter()

        async def keep_asking() -> None:
            while (now := loop.time()) < recording.window.end:
                await self._send(recording, now, next(self.requests))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(keep_asking())
        recording.cpu_share = cpu.share()
        return recording

    def _recording(self, start: float) -> Recording:
        begin = start + self.warmup_s
        return Recording(Window(begin, begin + self.duration_s))

    async def _send(self, recording: Recording, scheduled: float, request: PreparedRequest) -> None:
        clock = asyncio.get_running_loop().time
        sent = clock()
        try:
            reply = await self.connection.post(request.payload)
        except ClientError as exc:
            failure = _name_of(exc)
            recording.samples.append(Sample(scheduled, sent, clock(), None, failure))
            return
        ended = clock()
        mismatches = 0
        if request.mismatches is not None and reply.status == HTTPStatus.OK:
            mismatches = request.mismatches(reply)
        retry_after = reply.headers.get("Retry-After")
        recording.samples.append(
            Sample(scheduled, sent, ended, reply.status, None, retry_after, mismatches)
        )


def _name_of(error: ClientError) -> str:
    """Return the class of what went wrong underneath, which is short enough to count by."""
    return type(error.__cause__ or error).__name__


class _CpuMeter:
    """This process's share of one core since it was made."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def share(self) -> float:
        elapsed = time.perf_counter() - self._wall
        return (time.process_time() - self._cpu) / elapsed if elapsed else 0.0
