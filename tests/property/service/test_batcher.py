"""Whatever arrives, leaves and fails: every caller gets exactly one ending."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from service.batcher import Batcher
from service.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Sequence

CAPACITY, MAX_BATCH = 12, 6


@dataclass(frozen=True)
class Caller:
    size: int
    within: float  # of the fake clock's seconds
    poisoned: bool  # its batch fails
    turns_before: int  # of the event loop, before it arrives
    turns_until_it_leaves: int | None


callers = st.builds(
    Caller,
    size=st.integers(1, 8),
    within=st.floats(0, 40) | st.just(math.inf),
    poisoned=st.integers(0, 5).map(lambda number: number == 0),
    turns_before=st.integers(0, 3),
    turns_until_it_leaves=st.none() | st.integers(0, 6),
)


class PoisonError(Exception):
    pass


class Machine:
    """Takes a few turns for a batch, and checks what the batcher promises of it."""

    def __init__(self, turns: list[int]) -> None:
        self._turns = turns
        self.now = 0.0
        self._running = False
        self.batches: list[list[int]] = []
        self.callers: list[Caller] = []

    async def __call__(self, items: Sequence[int]) -> list[int]:
        assert not self._running, "two batches at once"
        self._running = True
        batch = [self.callers[item] for item in items]
        self.batches.append(list(items))
        assert len(batch) == 1 or sum(caller.size for caller in batch) <= MAX_BATCH
        taken = self._turns.pop() if self._turns else 1
        self.now += taken
        await turns(taken)
        self._running = False
        if any(caller.poisoned for caller in batch):
            raise PoisonError
        return [item * 10 for item in items]


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def live(batcher: Batcher[int, int], index: int, caller: Caller) -> str:
    """Return how a caller ended."""
    submission = asyncio.ensure_future(
        batcher.submit(index, min(caller.size, CAPACITY), within=caller.within)
    )
    if caller.turns_until_it_leaves is not None:
        await turns(caller.turns_until_it_leaves)
        submission.cancel()
    (outcome,) = await asyncio.gather(submission, return_exceptions=True)
    if isinstance(outcome, BaseException):
        return type(outcome).__name__
    assert outcome == index * 10
    return "answered"


@given(
    arrivals=st.lists(callers, max_size=25), batch_turns=st.lists(st.integers(0, 8), max_size=25)
)
def test_every_caller_gets_exactly_one_ending(
    arrivals: list[Caller], batch_turns: list[int]
) -> None:
    async def scenario() -> tuple[list[str], list[list[int]]]:
        machine = Machine(batch_turns)
        machine.callers = arrivals
        batcher = Batcher(
            machine, capacity=CAPACITY, max_batch=MAX_BATCH, clock=lambda: machine.now
        )
        tasks = []
        for index, caller in enumerate(arrivals):
            await turns(caller.turns_before)
            tasks.append(asyncio.create_task(live(batcher, index, caller)))
            assert 0 <= batcher.queued_size <= CAPACITY
        async with asyncio.timeout(10):
            endings = await asyncio.gather(*tasks)
            await batcher.close()
        assert batcher.queued_size == 0
        return endings, machine.batches

    endings, batches = asyncio.run(scenario())
    ran = [item for batch in batches for item in batch]
    assert sorted(set(ran)) == sorted(ran), "an item ran twice"
    failed = {
        item for batch in batches if any(arrivals[i].poisoned for i in batch) for item in batch
    }
    for index, (caller, ending) in enumerate(zip(arrivals, endings, strict=True)):
        if ending == "answered":
            assert index in set(ran) - failed
        elif ending == PoisonError.__name__:
            assert index in failed
        elif ending == OverloadedError.__name__:
            assert index not in ran
        else:
            assert ending == "CancelledError"
            assert caller.turns_until_it_leaves is not None
