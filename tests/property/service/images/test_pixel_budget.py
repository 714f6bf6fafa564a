"""Never more is lent than there is, and whoever comes first is served first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from service.images.pixel_budget import Budget

WHOLE = 10


@dataclass(frozen=True)
class Caller:
    pixels: int
    turns_before: int  # of the event loop, before it comes
    turns_in_use: int
    turns_until_it_leaves: int | None


callers = st.builds(
    Caller,
    pixels=st.integers(1, 15),
    turns_before=st.integers(0, 3),
    turns_in_use=st.integers(0, 5),
    turns_until_it_leaves=st.none() | st.integers(0, 12),
)
caller_lists = st.lists(callers, max_size=15)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def in_some_turns(future: asyncio.Future[Any]) -> None:
    """Wait, though not for ever: 15 callers one after the other take a fraction of it."""
    for _ in range(500):
        if future.done():
            return await future
        await asyncio.sleep(0)
    future.cancel()
    await asyncio.gather(future, return_exceptions=True)
    raise AssertionError("somebody waits for ever")


class Checker:
    """Checks what a budget promises, from what its callers hold."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._in_use: list[int] = []
        self._waiting: dict[int, int] = {}
        self.served: set[int] = set()

    async def work(self, number: int, caller: Caller) -> None:
        self._waiting[number] = caller.pixels
        await self._budget.acquire(caller.pixels)
        self._waiting.pop(number)
        self._in_use.append(caller.pixels)
        self.served.add(number)
        assert sum(self._in_use) <= WHOLE or len(self._in_use) == 1, "more is in use than there is"
        # Who came earlier and has not gone on yet does so in this turn: there is room for both.
        earlier = [pixels for other, pixels in self._waiting.items() if other < number]
        assert not earlier or sum(self._in_use) + sum(earlier) <= WHOLE, "somebody was overtaken"
        try:
            await turns(caller.turns_in_use)
        finally:
            self._in_use.remove(caller.pixels)
            self._budget.release(caller.pixels)

    async def visit(self, number: int, caller: Caller) -> None:
        working = asyncio.create_task(self.work(number, caller))
        if caller.turns_until_it_leaves is not None:
            await turns(caller.turns_until_it_leaves)
            self._waiting.pop(number, None)
            working.cancel()
        await asyncio.wait([working])
        if not working.cancelled():
            working.result()


def check(budget_class: Any, visits: list[Caller]) -> None:
    async def scenario() -> set[int]:
        budget = budget_class(WHOLE)
        checker = Checker(budget)
        tasks = []
        for number, caller in enumerate(visits):
            await turns(caller.turns_before)
            tasks.append(asyncio.create_task(checker.visit(number, caller)))
        await in_some_turns(asyncio.gather(*tasks))
        await in_some_turns(asyncio.ensure_future(budget.acquire(WHOLE)))  # all of it came back
        return checker.served

    served = asyncio.run(scenario())
    assert served >= {n for n, one in enumerate(visits) if one.turns_until_it_leaves is None}


@settings(deadline=None)
@given(visits=caller_lists)
def test_a_budget_keeps_its_promises(visits: list[Caller]) -> None:
    check(Budget, visits)


class Generous(Budget):
    """Grants whatever is asked for."""

    async def acquire(self, pixels: int) -> None:
        await asyncio.sleep(0)

    def release(self, pixels: int) -> None:
        pass


class Unfair(Budget):
    """Lets those who need more queue later."""

    async def acquire(self, pixels: int) -> None:
        await turns(pixels)
        await super().acquire(pixels)


class Forgetful(Budget):
    """Does not take back what was granted to one who left."""

    async def acquire(self, pixels: int) -> None:
        await asyncio.shield(super().acquire(pixels))


class Strict(Budget):
    """Grants no more than the whole even to one alone."""

    async def acquire(self, pixels: int) -> None:
        if pixels > WHOLE:
            await asyncio.Event().wait()
        await super().acquire(pixels)


@pytest.mark.parametrize("broken", [Generous, Unfair, Forgetful, Strict])
def test_a_budget_that_breaks_a_promise_would_be_noticed(broken: type[Budget]) -> None:
    @settings(phases=[Phase.generate], derandomize=True, database=None, deadline=None)
    @given(visits=caller_lists)
    def holds(visits: list[Caller]) -> None:
        check(broken, visits)

    with pytest.raises(AssertionError):
        holds()
