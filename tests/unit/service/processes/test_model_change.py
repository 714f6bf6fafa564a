"""All workers make a change or none does, whoever dies, whenever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.processes.model_change import ANSWER_SECONDS, ChangeRound

FIRST_MODELS = frozenset({"a@1.0.0", "b@1.0.0"})
NAMES = ("a", "b", "c")


class FakeChannel:
    """A channel whose messages lie there until its worker takes them."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        (self.answers if message["kind"] == "done" else self.orders).append(message)


class FakeWorker:
    """A worker that follows its orders, when the test lets it."""

    def __init__(self, models: Iterable[str]) -> None:
        self.channel = FakeChannel()
        self.models = frozenset(models)
        self.prepared: frozenset[str] | None = None
        self.asked: list[int] = []

    def ask(self, action: str, name: str) -> dict[str, Any]:
        self.asked.append(len(self.asked) + 1)
        return {"kind": "change", "number": self.asked[-1], "action": action, "name": name}

    def obey(self, *, able: bool = True) -> dict[str, Any] | None:
        """Follow the next order; return what it says to that."""
        order = self.channel.orders.pop(0)
        match order["kind"]:
            case "prepare":
                vote = {"kind": "prepared", "number": order["number"]}
                if not able:
                    return vote | {"error": "BundleError", "reason": "damaged"}
                self.prepared = after(self.models, order["action"], order["name"])
                return vote | {"error": None, "reason": None}
            case "commit":
                assert self.prepared is not None, "it may only commit what it has prepared"
                self.models, self.prepared = self.prepared, None
                models = sorted(self.models)
                return {"kind": "committed", "number": order["number"], "models": models}
            case _:
                self.prepared = None
                return None


def after(models: frozenset[str], action: str, name: str) -> frozenset[str]:
    others = frozenset(model for model in models if not model.startswith(f"{name}@"))
    return others | {f"{name}@1.0.0"} if action == "load" else others


class Fleet:
    """Workers around a `ChangeRound`, with a clock that only the test moves."""

    def __init__(self, number: int = 3) -> None:
        self.now = 0.0
        self.changes = ChangeRound(self.channels, self.kill, lambda: self.now)  # type: ignore[arg-type]
        self.workers: list[FakeWorker] = []
        for _ in range(number):
            self.start(FIRST_MODELS)

    def channels(self) -> list[FakeChannel]:
        return [worker.channel for worker in self.workers]

    def start(self, models: Iterable[str]) -> FakeWorker:
        worker = FakeWorker(models)
        self.workers.append(worker)
        self.say(worker, {"kind": "serving", "models": sorted(worker.models)})
        return worker

    def say(self, worker: FakeWorker, message: dict[str, Any] | None) -> None:
        if message is not None:
            self.changes.receive(worker.channel, message)  # type: ignore[arg-type]

    def ask(self, worker: FakeWorker, action: str = "unload", name: str = "b") -> None:
        self.say(worker, worker.ask(action, name))

    def obey(self, worker: FakeWorker, *, able: bool = True) -> None:
        self.say(worker, worker.obey(able=able))

    def obey_all(self) -> None:
        for worker in list(self.workers):
            while worker.channel.orders:
                self.obey(worker)

    def kill(self, channel: FakeChannel) -> None:
        self.workers = [worker for worker in self.workers if worker.channel is not channel]
        self.changes.forget(channel)  # type: ignore[arg-type]

    def settle(self) -> None:
        """Let everybody do everything that is left."""
        for _ in range(100):
            self.changes.start_next()
            self.obey_all()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def done(worker: FakeWorker) -> list[tuple[int, str | None]]:
    return [(answer["number"], answer["error"]) for answer in worker.channel.answers]


def test_a_change_that_all_can_make_is_made_by_all(fleet: Fleet) -> None:
    asker = fleet.workers[0]
    fleet.ask(asker)
    fleet.settle()
    assert [worker.models for worker in fleet.workers] == [frozenset({"a@1.0.0"})] * 3
    assert done(asker) == [(1, None)]
    assert fleet.changes.served == {"a@1.0.0"}


def test_a_change_that_one_cannot_make_is_made_by_none_and_says_why(fleet: Fleet) -> None:
    asker, second, third = fleet.workers
    fleet.ask(asker)
    fleet.changes.start_next()
    fleet.obey(asker)
    fleet.obey(second, able=False)
    fleet.obey(third)
    fleet.settle()
    assert [worker.models for worker in fleet.workers] == [FIRST_MODELS] * 3
    assert [worker.prepared for worker in fleet.workers] == [None] * 3
    assert [(one["error"], one["reason"]) for one in asker.channel.answers] == [
        ("BundleError", "damaged")
    ]


def test_nobody_commits_before_everybody_has_prepared(fleet: Fleet) -> None:
    asker, second, third = fleet.workers
    fleet.ask(asker)
    fleet.changes.start_next()
    fleet.obey(asker)
    fleet.obey(second)
    assert not asker.channel.orders
    fleet.obey(third)
    assert [order["kind"] for order in asker.channel.orders] == ["commit"]


def test_two_changes_at_once_are_made_one_after_the_other(fleet: Fleet) -> None:
    first, second, _ = fleet.workers
    fleet.ask(first, "unload", "b")
    fleet.ask(second, "load", "c")
    fleet.changes.start_next()
    assert [order["name"] for order in first.channel.orders] == ["b"]
    fleet.settle()
    assert {worker.models for worker in fleet.workers} == {frozenset({"a@1.0.0", "c@1.0.0"})}
    assert done(first) == done(second) == [(1, None)]


def test_a_worker_that_dies_before_its_vote_has_none(fleet: Fleet) -> None:
    asker, second, third = fleet.workers
    fleet.ask(asker)
    fleet.changes.start_next()
    fleet.obey(asker)
    fleet.obey(second)
    fleet.kill(third.channel)
    fleet.settle()
    assert {worker.models for worker in fleet.workers} == {frozenset({"a@1.0.0"})}
    assert done(asker) == [(1, None)]


def test_the_death_of_the_worker_that_was_asked_does_not_stop_the_change(fleet: Fleet) -> None:
    asker = fleet.workers[0]
    fleet.ask(asker)
    fleet.changes.start_next()
    fleet.kill(asker.channel)
    fleet.settle()
    assert {worker.models for worker in fleet.workers} == {frozenset({"a@1.0.0"})}
    assert not asker.channel.answers


def test_a_vote_that_does_not_come_ends_the_change_for_all(fleet: Fleet) -> None:
    asker, second, third = fleet.workers
    fleet.ask(asker)
    fleet.changes.start_next()
    fleet.obey(asker)
    fleet.obey(second)
    fleet.now = ANSWER_SECONDS - 0.1
    fleet.changes.start_next()
    assert fleet.changes.active
    fleet.now = ANSWER_SECONDS
    fleet.changes.start_next()
    fleet.obey_all()
    assert {worker.models for worker in (asker, second, third)} == {FIRST_MODELS}
    assert third.prepared is None
    assert asker.channel.answers[0]["reason"].startswith(
        "1 of 3 workers did not prepare the change"
    )


def test_a_vote_that_comes_too_late_counts_in_no_later_change(fleet: Fleet) -> None:
    asker, second, late = fleet.workers
    fleet.ask(asker, "unload", "b")
    fleet.changes.start_next()
    fleet.now = ANSWER_SECONDS
    fleet.ask(second, "load", "c")
    fleet.changes.start_next()
    fleet.obey(late)  # its vote on the first change
    fleet.settle()
    assert {worker.models for worker in fleet.workers} == {FIRST_MODELS | {"c@1.0.0"}}


def test_a_worker_that_does_not_confirm_what_the_others_made_is_ended(fleet: Fleet) -> None:
    asker, second, third = fleet.workers
    fleet.ask(asker)
    fleet.changes.start_next()
    for worker in (asker, second, third):
        fleet.obey(worker)
    fleet.obey(asker)
    fleet.obey(second)
    fleet.now = ANSWER_SECONDS
    fleet.changes.start_next()
    assert fleet.workers == [asker, second]
    assert done(asker) == [(1, None)]


def test_when_the_service_stops_what_waits_is_refused_and_what_runs_goes_on(fleet: Fleet) -> None:
    first, second, third = fleet.workers
    fleet.ask(first)
    fleet.changes.start_next()
    fleet.ask(second)
    fleet.changes.close()
    fleet.ask(third)
    fleet.settle()
    assert done(first) == [(1, None)]
    assert done(second) == done(third) == [(1, "DrainingError")]


class Changes(RuleBasedStateMachine):
    """Votes, deaths, delays and requests in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.everybody = list(self.fleet.workers)

    def pick(self, index: int) -> FakeWorker:
        return self.fleet.workers[index % len(self.fleet.workers)]

    @precondition(lambda self: self.fleet.workers)
    @rule(
        index=st.integers(0, 9),
        action=st.sampled_from(["load", "unload"]),
        name=st.sampled_from(NAMES),
    )
    def ask(self, index: int, action: str, name: str) -> None:
        self.fleet.ask(self.pick(index), action, name)

    @precondition(lambda self: any(worker.channel.orders for worker in self.fleet.workers))
    @rule(index=st.integers(0, 9), able=st.booleans() | st.just(True))
    def obey(self, index: int, able: bool) -> None:
        busy = [worker for worker in self.fleet.workers if worker.channel.orders]
        self.fleet.obey(busy[index % len(busy)], able=able)

    @precondition(lambda self: self.fleet.workers)
    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        self.fleet.kill(self.pick(index).channel)

    @precondition(lambda self: not self.fleet.changes.active and len(self.fleet.workers) < 4)
    @rule()
    def replace(self) -> None:
        self.everybody.append(self.fleet.start(self.fleet.changes.served))

    @rule()
    def start_next(self) -> None:
        self.fleet.changes.start_next()

    @rule(seconds=st.sampled_from([1.0, ANSWER_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.fleet.now += seconds

    @invariant()
    def between_changes_all_serve_the_same(self) -> None:
        if not self.fleet.changes.active:
            assert {worker.models for worker in self.fleet.workers} <= {self.fleet.changes.served}

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        for worker in self.everybody:
            numbers = [answer["number"] for answer in worker.channel.answers]
            assert sorted(set(numbers)) == sorted(numbers)

    def teardown(self) -> None:
        if not self.fleet.workers:
            assert not self.fleet.changes.active
        self.fleet.settle()
        assert not self.fleet.changes.active
        for worker in self.fleet.workers:
            assert sorted(number for number, _ in done(worker)) == worker.asked
            assert worker.models == self.fleet.changes.served


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_the_state_machine_sees_a_round_that_commits_without_the_last_vote() -> None:
    """The negative control: votes that count although they are refusals."""

    class Careless(ChangeRound):
        def receive(self, channel: Any, message: dict[str, Any]) -> None:
            super().receive(channel, message | ({"error": None} if "error" in message else {}))

    fleet = Fleet()
    fleet.changes = Careless(fleet.channels, fleet.kill, lambda: fleet.now)  # type: ignore[arg-type]
    fleet.ask(fleet.workers[0])
    fleet.changes.start_next()
    for worker in fleet.workers[:2]:
        fleet.obey(worker)
    fleet.obey(fleet.workers[2], able=False)
    with pytest.raises(AssertionError, match="may only commit what it has prepared"):
        fleet.settle()
