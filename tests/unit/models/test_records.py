"""Records from plain values: strict, and saying where something is wrong."""

from dataclasses import dataclass
from typing import Literal

import pytest

from models.records import RecordError, record_from_dict


@dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    flag: bool
    kind: Literal["a", "b"]
    inner: Inner
    maybe: Inner | None
    many: tuple[Inner, ...]
    named: dict[str, int | str]


SOUND = {
    "name": "x",
    "flag": True,
    "kind": "b",
    "inner": {"size": 1},
    "maybe": None,
    "many": [{"size": 2, "share": 1}],
    "named": {"p": 1, "q": "r"},
}


def test_plain_values_become_records():
    record = record_from_dict(Outer, SOUND, "here")
    assert record == Outer("x", True, "b", Inner(1), None, (Inner(2, 1.0),), {"p": 1, "q": "r"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, r"here: unknown key 'extra'; known: name, flag"),
        ({"name": 3}, r"here: name = 3 must be str, not int"),
        ({"flag": 1}, r"here: flag = 1 must be bool, not int"),
        ({"kind": "c"}, r"here: kind = 'c' must be one of a, b"),
        ({"kind": []}, r"here: kind = \[\] must be one of a, b"),
        ({"inner": 5}, r"here: inner must be a table, not int"),
        ({"inner": {"size": True}}, r"here: inner: size = True must be int, not bool"),
        ({"maybe": {"size": "1"}}, r"here: maybe: size = '1' must be int"),
        ({"many": {}}, r"here: many must be a list, not dict"),
        ({"many": [{"size": 1}, {}]}, r"here: many\[1\]: the key 'size' is missing"),
        ({"named": []}, r"here: named must be a table, not list"),
        ({"named": {"p": None}}, r"here: named.p = None must be int"),
        ({"named": {"p": 2**63}}, r"here: named.p is an integer of 64 bits; at most 63 and a sign"),
        (
            {"inner": {"size": 1, "share": 10**400}},
            r"here: inner: share is an integer of 1329 bits",
        ),
        ({"name": 1 << 40_000}, r"here: name is an integer of 40001 bits"),  # too long to print
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change, message):
    with pytest.raises(RecordError, match=message):
        record_from_dict(Outer, {**SOUND, **change}, "here")


def test_a_missing_key_is_named():
    without = {key: value for key, value in SOUND.items() if key != "flag"}
    with pytest.raises(RecordError, match="here: the key 'flag' is missing"):
        record_from_dict(Outer, without, "here")


@pytest.mark.parametrize("size", [2**63 - 1, 1 - 2**63])
def test_the_largest_integers_are_read_exactly(size):
    assert record_from_dict(Inner, {"size": size}, "here").size == size


def test_a_message_stays_short_however_long_the_value_is():
    with pytest.raises(RecordError, match=r"size = 'x+\.\.\.x+' must be int") as caught:
        record_from_dict(Inner, {"size": "x" * 1_000_000}, "here")
    assert len(str(caught.value)) < 100
