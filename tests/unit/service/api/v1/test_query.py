"""What image routes are asked in their query, checked by hand for speed."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.v1.query import PredictQuery, predict_query
from service.errors import MalformedRequestError


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", PredictQuery(None, None, None)),
        (b"model=tiny-bn%401.0.0", PredictQuery("tiny-bn@1.0.0", None, None)),
        (b"top_k=3&timeout_ms=250", PredictQuery(None, 3, 250)),
        (b"top_k=-2", PredictQuery(None, -2, None)),
        (b"top_k=%2B2", PredictQuery(None, 2, None)),
        (b"top_k=007", PredictQuery(None, 7, None)),
        (b"model=", PredictQuery("", None, None)),
        (b"models=a,b&other=1", PredictQuery(None, None, None)),
        (b"top_k=1&top_k=2", PredictQuery(None, 2, None)),
        (b"timeout_ms=999999999", PredictQuery(None, None, 999_999_999)),
        (b"model=\xff", PredictQuery("\ufffd", None, None)),
        (b"pixels=true", PredictQuery(pixels=True)),
        (b"pixels=false", PredictQuery()),
    ],
)
def test_a_query_is_read(query: bytes, expected: PredictQuery) -> None:
    assert predict_query(query) == expected


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (b"top_k=x", r"query top_k = 'x' is no whole number of at most 9 digits"),
        (b"top_k=", r"query top_k = ''"),
        (b"top_k=1.0", r"query top_k = '1\.0'"),
        (b"top_k=+3", r"query top_k = ' 3'"),  # a plus is a space in a query
        (b"top_k=1_0", r"query top_k = '1_0'"),
        (b"top_k=%D9%A3", r"query top_k = '٣'"),  # digits of another script
        (b"top_k=--1", r"query top_k = '--1'"),
        (b"top_k=1234567890", r"at most 9 digits"),
        (b"timeout_ms=1e3", r"query timeout_ms = '1e3'"),
        (b"timeout_ms=0", r"timeout_ms=0 leaves no time; give at least 1 millisecond"),
        (b"timeout_ms=-5", r"timeout_ms=-5 leaves no time"),
        (b"timeout_ms=9999999999", r"query timeout_ms = '9999999999'"),
        (b"pixels=maybe", r"query pixels = 'maybe' is neither true nor false"),
        (b"pixels=", r"query pixels = ''"),
    ],
)
def test_a_bad_number_is_refused_by_its_value(query: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequestError, match=reason):
        predict_query(query)


def test_of_a_long_value_only_the_beginning_is_shown() -> None:
    with pytest.raises(MalformedRequestError) as refusal:
        predict_query(b"top_k=" + b"9" * 5000)
    assert len(str(refusal.value)) < 150


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_query_or_refused(query: bytes) -> None:
    try:
        found = predict_query(query)
    except MalformedRequestError:
        return
    assert found.timeout_ms is None or found.timeout_ms >= 1


@settings(deadline=None)
@given(st.integers(-(10**9) + 1, 10**9 - 1), st.integers(1, 10**9 - 1), st.text(max_size=20))
def test_what_a_client_encodes_is_what_is_read(top_k: int, timeout_ms: int, model: str) -> None:
    query = {"top_k": top_k, "timeout_ms": timeout_ms, "model": model}
    encoded = urlencode(query, errors="replace").encode("ascii")
    shown = model.encode("utf-8", "replace").decode("utf-8")
    assert predict_query(encoded) == PredictQuery(shown, top_k, timeout_ms)


@pytest.mark.parametrize("top_k", [1, 10])
def test_as_many_labels_as_there_are_classes_may_be_asked_for(top_k: int) -> None:
    assert PredictQuery(top_k=top_k).checked_top_k(classes=10) == top_k


@pytest.mark.parametrize("top_k", [-1, 0, 11])
def test_fewer_and_more_labels_are_refused(top_k: int) -> None:
    reason = rf"top_k={top_k} is out of range; the model knows 10 classes, ask for 1 to 10"
    with pytest.raises(MalformedRequestError, match=reason):
        PredictQuery(top_k=top_k).checked_top_k(classes=10)


@pytest.mark.parametrize(
    ("callers", "expected"), [(None, 1000), (250, 250), (1000, 1000), (5000, 1000)]
)
def test_a_caller_may_allow_less_time_than_the_server_and_no_more(
    callers: int | None, expected: int
) -> None:
    assert PredictQuery(timeout_ms=callers).limit_ms(servers=1000) == expected
