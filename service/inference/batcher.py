"""Requests that arrive while the model is busy run together when it is free.

    submit(item) ──► queue ──► [items that waited] ──► run_batch ──► one result each

The batcher adds no delay: an idle one runs what it gets at once, a busy one takes whatever queued
up meanwhile. It knows nothing of images or models: an item has a size, and sizes bound the queue
and the batch.

An item that would be late anyway is refused when it comes, while its caller can still go
elsewhere. The prediction is what is ahead of it, times the pace of the latest batches, and a
quarter more:

    wait = 1.25 (queued + running + own size) * seconds per unit of size

The pace of a busy batcher runs from the end of one batch to the end of the next: what the event
loop did in between, such as refusing others, is part of it.

Batches that run on the event loop share it with everything else. Before the loop turns again,
batches run for as long as its last turn took: however many requests come in and are refused, that
takes at most half of the time, and accepted requests get the other half.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import DrainingError, OverloadedError

Item = TypeVar("Item")
Result = TypeVar("Result")

PACE_WEIGHT = 0.2  # of the newest batch in the running mean of seconds per unit of size
PESSIMISM = 1.25  # a pace is a mean, and half of all batches take longer
MAX_TURN_S = 0.02  # before the event loop turns again, however long its last turn took


@dataclass(eq=False)
class _Entry(Generic[Item, Result]):
    item: Item
    size: int
    future: asyncio.Future[Result]
    waiting: bool = True


class Batcher(Generic[Item, Result]):
    """Runs submitted items in batches, one batch at a time, in the order of their arrival.

    A batch is at most `max_batch_size` in size, or one item alone that is larger.

    A caller that is cancelled leaves its batch-mates unharmed, and its place in the queue free.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        capacity: int,
        max_batch_size: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run_batch = run_batch
        self._capacity = capacity
        self._max_batch_size = max_batch_size
        self._clock = clock
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._running_size = 0
        self._seconds_per_unit = 0.0
        self.queued_size = 0

    async def submit(self, item: Item, size: int = 1, *, within: float = math.inf) -> Result:
        """Return the item's result; `within` is the time in seconds that its caller will wait.

        Raises:
            OverloadedError: the queue has no room for it, or it would be done too late.
            DrainingError: the batcher is closed.
            Exception: what `run_batch` raised for the batch that the item was in.
        """
        self.admit(size, within)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, size, future)
        self._queue.append(entry)
        self.queued_size += size
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        try:
            return await future
        finally:
            self._forget(entry)

    async def close(self) -> None:
        """Take nothing new and finish what was accepted."""
        self._closed = True
        if self._worker is not None:
            await self._worker

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._queue)

    def retry_after_s(self) -> float:
        """Return when the queue is expected to be empty, from the pace of the latest batches."""
        return (self.queued_size + self._running_size) * self._seconds_per_unit

    def admit(self, size: int, within: float = math.inf) -> None:
        """Refuse an item of this size that would not be taken, or not be done in time.

        Raises:
            OverloadedError: the queue has no room for it, or it would be done too late.
            DrainingError: the batcher is closed.
        """
        if self._closed:
            raise DrainingError(
                "this process is about to stop and takes nothing new; try again elsewhere or "
                "when it is back",
                self.retry_after_s(),
            )
        if self.queued_size + size > self._capacity:
            raise OverloadedError(
                f"{self.queued_size} images are waiting and this request brings {size}; at most "
                f"{self._capacity} may wait; try again later or send fewer",
                self.retry_after_s(),
            )
        wait = PESSIMISM * (self.retry_after_s() + size * self._seconds_per_unit)
        if wait > within and self.queued_size + self._running_size:
            raise OverloadedError(
                f"an answer would take about {wait * 1000:.0f} ms and this request has "
                f"{within * 1000:.0f} ms left; try again later or allow more time",
                self.retry_after_s(),
            )

    def _forget(self, entry: _Entry[Item, Result]) -> None:
        """Free the place of an entry whose caller left while it waited."""
        if entry.waiting:
            entry.waiting = False
            self._queue.remove(entry)
            self.queued_size -= entry.size

    async def _work(self) -> None:
        began = self._clock()  # of the time since the last batch ended
        owed = 0.0  # seconds that batches may still run before the event loop turns
        try:
            while batch := self._take():
                started = self._clock()
                await self._run(batch)
                ended = self._clock()
                self._learn_pace(ended - began, sum(entry.size for entry in batch))
                began = ended
                owed -= ended - started
                if owed <= 0:
                    await asyncio.sleep(0)  # a batch may have run without letting the loop turn
                    owed = min(MAX_TURN_S, self._clock() - ended)
        finally:
            self._worker = None
            for entry in self._queue:  # empty unless the event loop itself is being torn down
                entry.future.cancel()

    def _take(self) -> list[_Entry[Item, Result]]:
        """Take from the queue what fits into one batch, skipping those whose callers left."""
        batch: list[_Entry[Item, Result]] = []
        size = 0
        while self._queue:
            entry = self._queue[0]
            if batch and size + entry.size > self._max_batch_size:
                break
            self._queue.popleft()
            entry.waiting = False
            self.queued_size -= entry.size
            if not entry.future.done():
                batch.append(entry)
                size += entry.size
        return batch

    async def _run(self, batch: list[_Entry[Item, Result]]) -> None:
        self._running_size = sum(entry.size for entry in batch)
        try:
            results = await self._run_batch([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} items gave {len(results)} results")
        except Exception as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            for entry in batch:
                entry.future.cancel()
            raise
        else:
            _resolve(batch, results)
        finally:
            self._running_size = 0

    def _learn_pace(self, seconds: float, size: int) -> None:
        latest = seconds / size
        previous = self._seconds_per_unit or latest
        self._seconds_per_unit = (1 - PACE_WEIGHT) * previous + PACE_WEIGHT * latest


def _resolve(batch: Sequence[_Entry[Item, Result]], results: Sequence[Result]) -> None:
    for entry, result in zip(batch, results, strict=True):
        if not entry.future.done():
            entry.future.set_result(result)


def _fail(batch: Sequence[_Entry[Item, Result]], error: Exception) -> None:
    for entry in batch:
        if not entry.future.done():
            entry.future.set_exception(error)
            entry.future.exception()  # a caller cancelled just now never asks: no warning for it
