"""Every record survives JSON, and any JSON is either a record or a record error."""

import contextlib
import copy
import dataclasses
import json
import types
import typing
from dataclasses import asdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.bundle import load_bundle
from models.history import EpochRecord
from models.manifest import Manifest
from models.records import RecordError, record_from_dict
from training.recipes.optimizers import (
    RmspropRecipe,
)
from training.recipes.recipe import (
    AugmentationRecipe,
    NetworkRecipe,
)

RECORDS = [Manifest, EpochRecord, NetworkRecipe, RmspropRecipe, AugmentationRecipe]
FIELDS = sorted({field.name for record in RECORDS for field in dataclasses.fields(record)})

numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(1 - 2**63, 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | integers | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
SCALARS = {
    str: st.text(max_size=8),
    bool: st.booleans(),
    int: integers,
    float: numbers,
    types.NoneType: st.none(),
    typing.Any: plain,
}


def values_of(kind):
    """Return a strategy for the values that a field of that type may hold."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case types.UnionType:
            return st.one_of([values_of(argument) for argument in arguments])
        case typing.Literal:
            return st.sampled_from(arguments)
        case origin if origin is tuple:
            return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
        case origin if origin is dict:
            return st.dictionaries(*map(values_of, arguments), max_size=2)
    if kind in SCALARS:
        return SCALARS[kind]
    fields = typing.get_type_hints(kind).items()
    return st.builds(kind, **{name: values_of(hint) for name, hint in fields})


@pytest.mark.parametrize("record_type", RECORDS)
@settings(derandomize=True, deadline=None, max_examples=50)
@given(data=st.data())
def test_every_record_survives_json(record_type, data):
    record = data.draw(values_of(record_type))
    again = record_from_dict(record_type, json.loads(json.dumps(asdict(record))), "there")
    assert record == again
    assert repr(record) == repr(again)  # 1 == 1.0 == True, but they print apart


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("record_type", RECORDS)
@settings(derandomize=True, deadline=None, max_examples=100)
@given(value=anything)
@example({"learning_rate": 10**400})
def test_any_json_is_a_record_or_a_record_error(record_type, value):
    with contextlib.suppress(RecordError):  # anything else would fail the test
        assert isinstance(record_from_dict(record_type, value, "there"), record_type)


def places(table, path=()):
    """Yield the way to each value inside nested tables and lists."""
    entries = table.items() if isinstance(table, dict) else enumerate(table)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.data())
def test_a_manifest_with_one_value_replaced_is_read_as_it_says_or_refused(artifacts, data):
    (path,) = artifacts.glob("tiny-bn-*")
    table = json.loads(json.dumps(asdict(load_bundle(path).manifest)))
    *way, last = data.draw(st.sampled_from(list(places(table))))
    value = data.draw(anything)
    broken = copy.deepcopy(table)
    container = broken
    for key in way:
        container = container[key]
    container[last] = value
    try:
        manifest = record_from_dict(Manifest, broken, "there")
    except RecordError as error:
        refusal = str(error)
    else:
        refusal = None
        # An integer may stand where a float is meant; nothing else is changed on the way.
        assert canonical(broken) == canonical(json.loads(json.dumps(asdict(manifest))))
    assert refusal is None or refusal.startswith("there")


def canonical(table):
    """Return JSON in which 1 and 1.0, but not 1 and true, are the same, and so is NaN to itself."""
    if isinstance(table, dict):
        return {key: canonical(value) for key, value in table.items()}
    if isinstance(table, list):
        return [canonical(value) for value in table]
    number = isinstance(table, int | float) and not isinstance(table, bool)
    return repr(float(table)) if number else repr(table)
