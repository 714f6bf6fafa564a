"""Whatever arrives, leaves and fails: every caller gets exactly one ending."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from service.errors import DrainingError, OverloadedError
from service.inference.batcher import Batcher

CAPACITY, MAX_BATCH = 12, 6


@dataclass(frozen=True)
class Caller:
    size: int
    allows: float  # times the wait that is to be expected when it comes
    does: Literal["nothing", "fail", "too few", "too many"]  # to its batch
    turns_before: int  # of the event loop, before it arrives
    turns_until_it_leaves: int | None


callers = st.builds(
    Caller,
    size=st.integers(1, 8),
    allows=st.sampled_from([0.0, 0.5, 0.99, 1.01, 2.0, math.inf]),
    does=st.sampled_from(["nothing"] * 6 + ["fail", "too few", "too many"]),
    turns_before=st.integers(0, 3),
    turns_until_it_leaves=st.none() | st.integers(0, 6),
)
arrivals_lists = st.lists(callers, max_size=25)
turns_lists = st.lists(st.integers(0, 8), max_size=25)


class PoisonError(Exception):
    pass


class Machine:
    """Takes a few turns for a batch, a second each, and checks what the batcher promises of it."""

    def __init__(self, arrivals: Sequence[Caller], turns: Sequence[int]) -> None:
        self._turns = list(turns)
        self.callers = arrivals
        self.now = 0.0
        self.running_size = 0
        self.pace = 0.0  # seconds per unit of size, the mean that the batcher should have
        self.batches: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> list[int]:
        assert not self.running_size, "two batches at once"
        batch = [self.callers[item] for item in items]
        self.batches.append(list(items))
        self.running_size = sum(caller.size for caller in batch)
        assert len(batch) == 1 or self.running_size <= MAX_BATCH
        taken = self._turns.pop() if self._turns else 1
        await turns(taken)
        self.now += taken
        latest = taken / self.running_size
        self.pace = 0.8 * self.pace + 0.2 * latest if self.pace else latest
        self.running_size = 0
        done = {caller.does for caller in batch}
        if "fail" in done:
            raise PoisonError
        results = [item * 10 for item in items]
        if "too few" in done:
            return results[1:]
        return [*results, 0] if "too many" in done else results

    def spoils(self, batch: Sequence[int]) -> bool:
        return any(self.callers[item].does != "nothing" for item in batch)


class Gatekeeper:
    """Checks every decision on who may wait against the machine's own pace.

    What a caller allows comes as a multiple of the wait to be expected, and goes on in seconds.
    """

    def __init__(self, batcher: Batcher[int, int], machine: Machine) -> None:
        self._batcher, self._machine = batcher, machine
        self._admit = batcher.admit
        batcher.admit = self

    def __call__(self, size: int, allows: float = math.inf) -> None:
        ahead = self._batcher.queued_size + self._machine.running_size
        wait = 1.25 * (ahead + size) * self._machine.pace
        within = math.inf if allows == math.inf else allows * wait
        fits = self._batcher.queued_size + size <= CAPACITY
        try:
            self._admit(size, within)
        except DrainingError:
            raise
        except OverloadedError:
            assert not fits or (ahead and wait > within), "refused needlessly"
            raise
        assert fits, "more waits than may"
        assert not ahead or wait <= within, "admitted to be late"


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def live(batcher: Batcher[int, int], index: int, caller: Caller) -> str:
    """Return how a caller ended."""
    submission = asyncio.ensure_future(batcher.submit(index, caller.size, within=caller.allows))
    if caller.turns_until_it_leaves is not None:
        await turns(caller.turns_until_it_leaves)
        submission.cancel()
    (result,) = await asyncio.gather(submission, return_exceptions=True)
    if isinstance(result, AssertionError):
        raise result
    if isinstance(result, BaseException):
        return type(result).__name__
    assert result == index * 10
    return "answered"


async def live_all(batcher_class: Callable[..., Batcher[int, int]], machine: Machine) -> list[str]:
    """Return how every caller ended."""
    batcher = batcher_class(
        machine, capacity=CAPACITY, max_batch_size=MAX_BATCH, clock=lambda: machine.now
    )
    Gatekeeper(batcher, machine)
    tasks = []
    for index, caller in enumerate(machine.callers):
        await turns(caller.turns_before)
        tasks.append(asyncio.create_task(live(batcher, index, caller)))
        assert 0 <= batcher.queued_size <= CAPACITY
        assert batcher.waiting <= batcher.queued_size
    async with asyncio.timeout(10):
        endings = await asyncio.gather(*tasks)
        await batcher.close()
    assert (batcher.queued_size, batcher.waiting) == (0, 0)
    with pytest.raises(DrainingError):
        await batcher.submit(0)
    return endings


def check_endings(
    batcher_class: Callable[..., Batcher[int, int]],
    arrivals: Sequence[Caller],
    batch_turns: Sequence[int],
) -> None:
    machine = Machine(arrivals, batch_turns)
    endings = asyncio.run(live_all(batcher_class, machine))
    ran = [item for batch in machine.batches for item in batch]
    assert ran == sorted(set(ran)), "an item ran twice, or before one that came earlier"
    spoilt = {item for batch in machine.batches if machine.spoils(batch) for item in batch}
    for index, (caller, ending) in enumerate(zip(arrivals, endings, strict=True)):
        match ending:
            case "answered":
                assert index in set(ran) - spoilt
            case "PoisonError" | "RuntimeError":
                assert index in spoilt
            case "OverloadedError":
                assert index not in ran
            case _:
                assert ending == "CancelledError"
                assert caller.turns_until_it_leaves is not None


@settings(deadline=None)
@given(arrivals=arrivals_lists, batch_turns=turns_lists)
def test_every_caller_gets_exactly_one_ending(
    arrivals: list[Caller], batch_turns: list[int]
) -> None:
    check_endings(Batcher, arrivals, batch_turns)


class Unordered(Batcher[int, int]):
    """Lets the larger ones queue later."""

    async def submit(self, item: int, size: int = 1, *, within: float = math.inf) -> int:
        await turns(size)
        return await super().submit(item, size, within=within)


class Greedy(Batcher[int, int]):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"max_batch_size": 1000}))


class Roomy(Batcher[int, int]):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"capacity": 1000}))


class Patient(Batcher[int, int]):
    def admit(self, size: int, _within: float = math.inf) -> None:
        super().admit(size)


class Timid(Batcher[int, int]):
    def admit(self, size: int, within: float = math.inf) -> None:
        super().admit(size, within / 2)


class Trusting(Batcher[int, int]):
    """Takes a batch's results as they come, one after the other."""

    def __init__(self, run_batch: Callable[..., Any], **options: Any) -> None:
        async def padded(items: Sequence[int]) -> list[int]:
            return [*await run_batch(items), *items][: len(items)]

        super().__init__(padded, **options)


class Forgetful(Batcher[int, int]):
    """Keeps counting those that left while they waited."""

    async def submit(self, item: int, size: int = 1, *, within: float = math.inf) -> int:
        try:
            return await super().submit(item, size, within=within)
        except asyncio.CancelledError:
            self.queued_size += size
            raise


@pytest.mark.parametrize("broken", [Unordered, Greedy, Roomy, Patient, Timid, Trusting, Forgetful])
def test_a_batcher_that_breaks_a_promise_would_be_noticed(
    broken: Callable[..., Batcher[int, int]],
) -> None:
    @settings(
        phases=[Phase.generate], derandomize=True, database=None, deadline=None, max_examples=500
    )
    @given(arrivals=arrivals_lists, batch_turns=turns_lists)
    def holds(arrivals: list[Caller], batch_turns: list[int]) -> None:
        check_endings(broken, arrivals, batch_turns)

    with pytest.raises(AssertionError):
        holds()
