"""The house: small rooms, arrows that run down, and nothing hidden from who draws them."""

from __future__ import annotations

import pytest

from tests.contract.rooms import ROOT, Room, hides_arrows, rooms_of

PACKAGES = ("service", "training", "models")
MAX_ENTRIES = 11
LISTS = {"training.cli", "training.recipes"}  # one entry for each command or experiment
MAX_HIDDEN = 40


@pytest.fixture(scope="module", params=PACKAGES)
def rooms(request: pytest.FixtureRequest) -> list[Room]:
    return rooms_of(request.param)


def test_no_room_has_more_entries_than_a_reader_takes_in(rooms: list[Room]) -> None:
    crowded = {room.name: len(room.arrows) for room in rooms if len(room.arrows) > MAX_ENTRIES}
    assert {name: count for name, count in crowded.items() if name not in LISTS} == {}


def test_no_room_has_a_circle(rooms: list[Room]) -> None:
    assert {room.name: room.circles for room in rooms if room.circles} == {}


def test_every_room_says_what_lives_in_it_and_what_may_not(rooms: list[Room]) -> None:
    for room in rooms:
        text = (ROOT / room.name.replace(".", "/") / "__init__.py").read_text("utf-8")
        docstring = text.split('"""')[1]
        assert len(docstring.strip().splitlines()) >= 2, room.name


def test_few_modules_hide_their_arrows() -> None:
    hidden = [*hides_arrows("service"), *hides_arrows("training")]
    assert len(hidden) <= MAX_HIDDEN, hidden


def test_a_circle_would_be_seen() -> None:
    room = Room("a", {"b": {"c"}, "c": {"d"}, "d": {"b"}, "e": {"b"}})
    assert {frozenset("bc"), frozenset("cd"), frozenset("bd")} == room.circles
    assert room.count == 4


def test_the_floor_of_an_entry_is_above_all_that_it_imports() -> None:
    room = Room("a", {"b": {"c", "d"}, "c": {"d"}, "d": set()})
    assert room.floors == 3
    assert set() == room.circles
