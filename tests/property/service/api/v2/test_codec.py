"""What is written is what is read, for every tensor; what is damaged is refused, never wrong."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import zlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from service.api.v2.infer.compression import deflate, inflate
from service.api.v2.infer.outputs import RequestedOutput
from service.api.v2.infer.request import read_infer_request
from service.api.v2.infer.response import ScoredBy, write_infer_answer
from service.api.v2.infer.tensors import files_from_bytes, pixels_from_json
from service.errors import ServiceError
from service.inference.session import Scores
from service.settings import Limits
from tests.images import SPEC
from tests.synthetic import LABELS

LIMITS = Limits(max_images=2, max_body_bytes=100_000)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
tensors = hnp.arrays(np.uint8, SHAPES)
files = st.lists(st.binary(max_size=40), max_size=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tables = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(10)), elements=finite)


@given(tensor=tensors, flat=st.booleans())
def test_pixels_come_out_of_json_as_they_went_in(tensor: NDArray[np.uint8], flat: bool) -> None:
    data = (tensor.ravel() if flat else tensor).tolist()
    found = pixels_from_json(json.loads(json.dumps(data)), tensor.shape, may_have_bools=False)
    assert np.array_equal(found, tensor)


@given(contents=files)
def test_elements_come_out_of_bytes_as_they_went_in(contents: list[bytes]) -> None:
    data = b"".join(len(content).to_bytes(4, "little") + content for content in contents)
    assert files_from_bytes(memoryview(data), len(contents)) == contents


@given(data=st.binary(max_size=60), count=st.integers(0, 6))
def test_elements_are_all_of_the_bytes_or_an_error(data: bytes, count: int) -> None:
    try:
        contents = files_from_bytes(memoryview(data), count)
    except ServiceError:
        return
    assert len(contents) == count
    assert b"".join(len(one).to_bytes(4, "little") + one for one in contents) == data


@given(logits=tables, probabilities=tables, forms=st.tuples(st.booleans(), st.booleans()))
def test_scores_come_out_of_an_answer_as_they_went_in(
    logits: NDArray[np.float32], probabilities: NDArray[np.float32], forms: tuple[bool, bool]
) -> None:
    names = ("logits", "probabilities")
    outputs = [RequestedOutput(name, form) for name, form in zip(names, forms, strict=True)]
    by = ScoredBy("m", "1", LABELS, "id")
    answer = write_infer_answer(Scores(logits, probabilities), outputs, by)
    position = len(answer.body) if answer.header_bytes is None else answer.header_bytes
    table = json.loads(answer.body[:position])
    for entry, values in zip(table["outputs"], (logits, probabilities), strict=True):
        if "data" in entry:
            found = np.array(entry["data"], np.float32)
        else:
            size = entry["parameters"]["binary_data_size"]
            found = np.frombuffer(answer.body[position : position + size], "<f4")
            position += size
        assert np.array_equal(found.reshape(entry["shape"]), values)
    assert position == len(answer.body)


@given(body=st.binary(max_size=2_000), encoding=st.sampled_from(["gzip", "deflate"]))
def test_what_is_deflated_inflates_to_itself(body: bytes, encoding: str) -> None:
    assert inflate(deflate(body, encoding), encoding, len(body)) == body


@given(body=st.binary(max_size=300), cap=st.integers(0, 200), junk=st.booleans())
def test_inflating_never_gives_more_than_the_limit(body: bytes, cap: int, junk: bool) -> None:
    packed = body if junk else gzip.compress(zlib.compress(body))
    with contextlib.suppress(ServiceError):
        assert len(inflate(packed, "gzip", cap)) <= cap


def valid_bodies() -> list[tuple[bytes, bool]]:
    """A request of every form; the flag says that bytes follow its JSON."""
    pixels = np.arange(3072, dtype=np.uint32).astype(np.uint8)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}
    files_entry = {"name": "image", "datatype": "BYTES", "shape": [1]}
    outputs = [{"name": "logits", "parameters": {"classification": 2, "binary_data": True}}]
    text = base64.b64encode(b"file").decode()
    encoded = {**files_entry, "data": [text], "parameters": {"content_type": "base64"}}
    tables: list[tuple[dict[str, Any], bytes]] = [
        ({"inputs": [{**tensor, "data": pixels.tolist()}], "id": "a"}, b""),
        ({"inputs": [encoded], "parameters": {"timeout": 5}}, b""),
        ({"inputs": [{**tensor, "parameters": {"binary_data_size": 3072}}]}, pixels.tobytes()),
        ({"inputs": [files_entry], "outputs": outputs}, b"\x04\x00\x00\x00file"),
    ]
    return [(json.dumps(table).encode() + rest, bool(rest)) for table, rest in tables]


BODIES = valid_bodies()
cuts = st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=8) | st.sampled_from(
    [b"[", b"]", b"{}", b"null", b"true", b"-1", b"1e9", b'"', b",", b"256", b"0.5"]
))  # fmt: skip


@given(
    body=st.sampled_from(BODIES),
    edits=st.lists(cuts, max_size=5),
    header=st.none() | st.integers(-2, 4_000).map(str) | st.text(max_size=5),
)
def test_a_damaged_request_is_read_or_refused(
    body: tuple[bytes, bool], edits: list[tuple[float, int, bytes]], header: str | None
) -> None:
    content, _ = body
    for place, removed, inserted in edits:
        position = int(place * len(content))
        content = content[:position] + inserted + content[position + removed :]
    try:
        request = read_infer_request(content, header, LIMITS, SPEC)
    except ServiceError:
        return
    if isinstance(request.images, list):
        assert 1 <= len(request.images) <= LIMITS.max_images
    else:
        assert request.images.shape[1:] == (32, 32, 3)
        assert request.images.dtype == np.uint8


def test_the_undamaged_requests_are_read() -> None:
    for body, has_rest in BODIES:
        header = str(body.index(b"]}") + 2) if has_rest else None
        if has_rest and b"outputs" in body:
            header = str(body.rindex(b"}") + 1)
        assert len(read_infer_request(body, header, LIMITS, SPEC).images) == 1
