from __future__ import annotations

import pytest

from service.api.v2.infer.envelope import open_envelope
from service.errors import BodyTooLargeError, MalformedRequestError
from service.settings import Limits
from tests.images import SPEC

LIMITS = Limits(max_images=2)


def test_a_body_without_the_header_is_json_alone() -> None:
    envelope = open_envelope(b'{"id": "a"}', None, LIMITS, SPEC)
    assert envelope.table == {"id": "a"}
    assert bytes(envelope.rest) == b""


def test_the_header_divides_json_from_tensors() -> None:
    envelope = open_envelope(b'{"id": "a"}\x00\x01', "11", LIMITS, SPEC)
    assert envelope.table == {"id": "a"}
    assert bytes(envelope.rest) == b"\x00\x01"


def test_the_bytes_after_the_json_are_not_copied() -> None:
    body = b"{}" + bytes(100)
    assert open_envelope(body, "2", LIMITS, SPEC).rest.obj is body


def test_a_header_of_zero_is_a_tensor_alone() -> None:
    envelope = open_envelope(b"\x00\x01", "0", LIMITS, SPEC)
    assert envelope.table is None
    assert bytes(envelope.rest) == b"\x00\x01"


def test_a_header_may_count_the_whole_body() -> None:
    assert bytes(open_envelope(b"{}", "2", LIMITS, SPEC).rest) == b""


def test_a_header_beyond_the_body_is_refused_with_the_range() -> None:
    with pytest.raises(MalformedRequestError, match=r"should be in range \(0, 2\), got: 3"):
        open_envelope(b"{}", "3", LIMITS, SPEC)


@pytest.mark.parametrize("header", ["-1", "+1", "1.0", "1e1", "", "two", "٢", "9" * 5_000])
def test_a_header_that_is_no_length_is_refused(header: str) -> None:
    with pytest.raises(MalformedRequestError, match=r"send the number of bytes of the JSON"):
        open_envelope(b"{}", header, LIMITS, SPEC)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b"\xff", b"[" * 600],
)
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=r"cannot be read"):
        open_envelope(text, None, LIMITS, SPEC)


@pytest.mark.parametrize(("text", "kind"), [(b"[]", "list"), (b"1", "int"), (b"null", "NoneType")])
def test_json_that_is_no_object_is_refused(text: bytes, kind: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"the JSON is a {kind}; send an object"):
        open_envelope(text, None, LIMITS, SPEC)


def test_as_many_numbers_as_the_images_have_are_read() -> None:
    numbers = b"[" + b",".join([b"0"] * 2 * 3072) + b"]"
    table = open_envelope(b'{"data": %s}' % numbers, None, LIMITS, SPEC).table
    assert table is not None
    assert len(table["data"]) == 2 * 3072


@pytest.mark.parametrize(
    "text",
    [b'{"data": [' + b"0," * 7_000 + b"0]}", b'{"data": ' + b"[" * 3_000 + b"]" * 3_000 + b"}"],
)
def test_far_more_than_the_images_is_refused_before_it_is_parsed(text: bytes) -> None:
    with pytest.raises(BodyTooLargeError, match=r"more than the images of one request"):
        open_envelope(text, None, LIMITS, SPEC)


def test_far_more_objects_than_a_request_has_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(MalformedRequestError, match=r"more than 512 objects"):
        open_envelope(b'{"a":' * 600, None, LIMITS, SPEC)
