"""Records from plain values: strict, and saying where something is wrong."""

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change, message):
    with pytest.raises(RecordError, match=message):
        record_from_dict(Outer, {**SOUND, **change}, "here")


def test_a_missing_key_is_named():
    without = {key: value for key, value in SOUND.items() if key != "flag"}
    with pytest.raises(RecordError, match="here: the key 'flag' is missing"):
        record_from_dict(Outer, without, "here")


inners = st.builds(Inner, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer,
    st.text(),
    st.booleans(),
    st.sampled_from(["a", "b"]),
    inners,
    st.none() | inners,
    st.lists(inners).map(tuple),
    st.dictionaries(st.text(), st.integers() | st.text()),
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(outers)
def test_every_record_survives_json(record):
    assert record_from_dict(Outer, json.loads(json.dumps(asdict(record))), "there") == record


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SOUND, "size", "?"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(anything)
def test_any_json_is_a_record_or_a_record_error(value):
    with contextlib.suppress(RecordError):  # anything else would fail the test
        assert isinstance(record_from_dict(Outer, value, "there"), Outer)
