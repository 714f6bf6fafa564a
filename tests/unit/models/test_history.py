"""Learning curves: one JSON object per epoch and line."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.history import EpochRecord, read_history, write_history
from models.records import RecordError

RECORD = EpochRecord(1, 1e-3, 1.5, 0.25, 1.25, 0.5, 100.125, 5.0)


def test_each_epoch_is_one_line_of_json(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history([RECORD, replace(RECORD, epoch=2)], path)
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == RECORD.to_dict()
    assert second == {**RECORD.to_dict(), "epoch": 2}


def test_writing_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "history.jsonl"
    write_history([RECORD] * 3, path)
    write_history([RECORD], path)
    assert read_history(path) == [RECORD]
    assert [path] == list(tmp_path.iterdir())


def test_an_empty_curve_is_an_empty_file(tmp_path):
    write_history([], tmp_path / "history.jsonl")
    assert read_history(tmp_path / "history.jsonl") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"epoch": 2', "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[2]", "must be a table, not list"),
        (b'{"epoch": 2}', "the key 'learning_rate' is missing"),
        (json.dumps({**RECORD.to_dict(), "surprise": 1}).encode(), "unknown key 'surprise'"),
        (json.dumps({**RECORD.to_dict(), "epoch": "2"}).encode(), "epoch = '2' must be int"),
    ],
)
def test_a_line_that_is_no_record_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "history.jsonl"
    write_history([RECORD], path)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RecordError, match=rf"history\.jsonl:2:? {message}"):
        read_history(path)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(records=st.lists(st.builds(EpochRecord, st.integers(1, 1000), *[numbers] * 7)))
def test_every_curve_comes_back_to_the_bit(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    write_history(records, path)
    assert read_history(path) == records
