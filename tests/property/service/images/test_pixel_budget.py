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
class Borrower:
    part: int
    turns_before: int  # of the event loop, before it comes
    turns_held: int
    turns_until_it_leaves: int | None


borrowers = st.builds(
    Borrower,
    part=st.integers(1, 15),
    turns_before=st.integers(0, 3),
    turns_held=st.integers(0, 5),
    turns_until_it_leaves=st.none() | st.integers(0, 12),
)
borrowers_lists = st.lists(borrowers, max_size=15)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def in_some_turns(future: asyncio.Future[Any]) -> None:
    """Wait, though not for ever: 15 borrowers one after the other take a fraction of it."""
    for _ in range(500):
        if future.done():
            return await future
        await asyncio.sleep(0)
    future.cancel()
    await asyncio.gather(future, return_exceptions=True)
    raise AssertionError("somebody waits for ever")


class Bank:
    """Checks what a budget promises, from what its borrowers hold."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._in_use: list[int] = []
        self._waiting: dict[int, int] = {}
        self.served: set[int] = set()

    async def borrow(self, number: int, borrower: Borrower) -> None:
        self._waiting[number] = borrower.part
        await self._budget.acquire(borrower.part)
        self._waiting.pop(number)
        self._in_use.append(borrower.part)
        self.served.add(number)
        assert sum(self._in_use) <= WHOLE or len(self._in_use) == 1, "more is lent than there is"
        # Who came earlier and has not gone on yet does so in this turn: there is room for both.
        earlier = [part for other, part in self._waiting.items() if other < number]
        assert not earlier or sum(self._in_use) + sum(earlier) <= WHOLE, "somebody was overtaken"
        try:
            await turns(borrower.turns_held)
        finally:
            self._in_use.remove(borrower.part)
            self._budget.release(borrower.part)

    async def visit(self, number: int, borrower: Borrower) -> None:
        borrowing = asyncio.create_task(self.borrow(number, borrower))
        if borrower.turns_until_it_leaves is not None:
            await turns(borrower.turns_until_it_leaves)
            self._waiting.pop(number, None)
            borrowing.cancel()
        await asyncio.wait([borrowing])
        if not borrowing.cancelled():
            borrowing.result()


def check(budget_class: Any, visits: list[Borrower]) -> None:
    async def scenario() -> set[int]:
        budget = budget_class(WHOLE)
        bank = Bank(budget)
        tasks = []
        for number, borrower in enumerate(visits):
            await turns(borrower.turns_before)
            tasks.append(asyncio.create_task(bank.visit(number, borrower)))
        await in_some_turns(asyncio.gather(*tasks))
        await in_some_turns(asyncio.ensure_future(budget.acquire(WHOLE)))  # all of it came back
        return bank.served

    served = asyncio.run(scenario())
    assert served >= {n for n, one in enumerate(visits) if one.turns_until_it_leaves is None}


@settings(deadline=None)
@given(visits=borrowers_lists)
def test_a_budget_keeps_its_promises(visits: list[Borrower]) -> None:
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
    @given(visits=borrowers_lists)
    def holds(visits: list[Borrower]) -> None:
        check(broken, visits)

    with pytest.raises(AssertionError):
        holds()
