from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.errors import DrainingError, OverloadedError
from service.inference.batcher import Batcher
from tests.clock import Clock


class Machine:
    """A `run_batch` that waits at a gate and notes what it ran."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        await self.gate.wait()
        return [item * 10 for item in items]


def started(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(batcher.submit(item)) for item in items]


async def busy(machine: Machine, **bounds: int) -> tuple[Batcher[int, int], asyncio.Task[int]]:
    """A batcher whose first item is running."""
    batcher = Batcher(machine, **{"capacity": 100, "max_batch_size": 100} | bounds)
    (first,) = started(batcher, 0)
    await machine.entered.wait()
    return batcher, first


async def settled(*tasks: asyncio.Task[int]) -> list[int | BaseException]:
    async with asyncio.timeout(10):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def one_turn() -> None:
    await asyncio.sleep(0)


async def test_what_queued_while_a_batch_ran_is_the_next_batch() -> None:
    machine = Machine()
    batcher, first = await busy(machine)
    rest = started(batcher, 1, 2, 3)
    await one_turn()
    machine.gate.set()
    assert await settled(first, *rest) == [0, 10, 20, 30]
    assert machine.batches == [[0], [1, 2, 3]]


async def test_an_item_that_would_be_late_is_refused_when_it_comes() -> None:
    clock = Clock()
    machine = Machine()
    batcher = Batcher(machine, capacity=100, max_batch_size=100, clock=clock)
    (first,) = started(batcher, 0)
    await machine.entered.wait()
    clock.now += 2.0
    machine.gate.set()
    await first  # one item took two seconds
    machine.gate.clear()
    machine.entered.clear()
    (running,) = started(batcher, 1)
    await machine.entered.wait()
    with pytest.raises(OverloadedError, match=r"about 5000 ms .* has 4900 ms left") as refusal:
        await asyncio.wait_for(batcher.submit(2, within=4.9), 10)
    assert refusal.value.retry_after_s == 2.0
    in_time = asyncio.create_task(batcher.submit(3, within=5.1))
    await one_turn()
    machine.gate.set()
    assert await settled(running, in_time) == [10, 30]


async def test_batches_run_on_for_as_long_as_the_event_loop_was_away() -> None:
    clock = Clock()
    order: list[str] = []

    async def run(items: Sequence[int]) -> list[int]:
        clock.now += 0.001
        order.append("batch")
        return list(items)

    async def flood() -> None:
        while len(order) < 30:
            clock.now += 0.003
            order.append("turn")
            await asyncio.sleep(0)

    batcher = Batcher(run, capacity=99, max_batch_size=1, clock=clock)
    items = started(batcher, *range(12))
    await asyncio.gather(flood(), *items)
    first, last = order.index("batch"), 29 - order[::-1][len(order) - 30 :].index("batch")
    busy_part = order[first:last]
    assert busy_part.count("batch") > 2 * busy_part.count("turn")


async def test_a_cancelled_caller_does_not_strand_its_batch_mates() -> None:
    machine = Machine()
    batcher, first = await busy(machine)
    rest = started(batcher, 1, 2)
    await one_turn()
    rest[0].cancel()
    machine.gate.set()
    results = await settled(first, *rest)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [results[0], results[2]] == [0, 20]
    assert machine.batches == [[0], [2]]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    clock = Clock()
    machine = Machine()
    batcher = Batcher(machine, capacity=2, max_batch_size=9, clock=clock)
    (first,) = started(batcher, 0)
    await machine.entered.wait()
    clock.now += 8.0
    machine.gate.set()
    await first  # one item took 8 seconds
    machine.gate.clear()
    machine.entered.clear()
    running = started(batcher, 1)
    await machine.entered.wait()
    waiting = started(batcher, 2, 3)
    await one_turn()
    with pytest.raises(OverloadedError, match=r"2 images are waiting .* at most 2") as refusal:
        await batcher.submit(4)
    assert refusal.value.retry_after_s == 3 * 8.0
    machine.gate.set()
    assert await settled(*running, *waiting) == [10, 20, 30]


async def test_closing_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    machine = Machine()
    batcher, first = await busy(machine)
    waiting = started(batcher, 1)
    await one_turn()
    closing = asyncio.create_task(batcher.close())
    await one_turn()
    with pytest.raises(DrainingError, match="about to stop"):
        await batcher.submit(2)
    machine.gate.set()
    await closing
    assert await settled(first, *waiting) == [0, 10]


def test_an_event_loop_that_ends_leaves_no_caller_waiting() -> None:
    left: list[asyncio.Task[int]] = []

    async def scenario() -> None:
        batcher, first = await busy(Machine())
        left.extend([first, *started(batcher, 1)])
        await one_turn()

    asyncio.run(scenario())
    assert [task.cancelled() for task in left] == [True, True]
