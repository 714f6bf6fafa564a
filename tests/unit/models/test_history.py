"""Learning curves: one JSON object per epoch and line."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from models.history import EpochRecord, read_history, write_history

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


numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(records=st.lists(st.builds(EpochRecord, st.integers(1, 1000), *[numbers] * 7)))
def test_every_curve_comes_back_to_the_bit(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    write_history(records, path)
    assert read_history(path) == records
