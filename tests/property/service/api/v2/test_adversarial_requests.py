"""Whatever is sent to `/v2`: no 500, no hang, and errors always in the protocol's shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient

ALLOWED = {200, 400, 404, 405, 413, 501}
MAX_BODY = 200_000
adversarial = settings(
    max_examples=150,
    deadline=None,  # bounded by the client's own timeout
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    limits = {"max_body_bytes": MAX_BODY, "max_pixels": 1_000_000, "max_images": 2}
    with AppClient(create_app(Settings(artifacts=artifacts, threads=1, **limits))) as client:
        yield client


def check(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    body = json.loads(response.content)
    late = response.status_code == 503 and body["error"].startswith("no answer within")
    assert late or response.status_code in ALLOWED, response.text
    assert set(body) == {"error"}
    assert 0 < len(body["error"]) < 2_000


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def odd(*values: Any) -> st.SearchStrategy[Any]:
    """One of these, as a rule; now and then anything at all."""
    return st.sampled_from(values) | anything


parameters = st.dictionaries(
    st.sampled_from(
        [
            "binary_data_size",
            "binary_data",
            "binary_data_output",
            "classification",
            "content_type",
            "timeout",
            "priority",
            "shared_memory_region",
        ]
    )
    | st.text(max_size=5),
    odd(0, 1, 3072, -1, True, "base64", 9_000_000),
    max_size=3,
)
data = odd([0] * 3072, [[[[0] * 3] * 32] * 32], ["AAAA"], [])
shapes = odd([1, 32, 32, 3], [1], [2], [0], [2**62, 2**62])
inputs = st.fixed_dictionaries(
    {"name": odd("image"), "datatype": odd("UINT8", "BYTES", "FP32"), "shape": shapes},
    optional={"data": data, "parameters": odd({}) | parameters},
)
outputs = st.fixed_dictionaries(
    {"name": odd("logits", "probabilities")}, optional={"parameters": odd({}) | parameters}
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(inputs, max_size=2) | anything},
    optional={
        "outputs": st.lists(outputs, max_size=3) | anything,
        "id": odd("a"),
        "parameters": odd({}) | parameters,
    },
)
bodies = (requests | anything).map(lambda value: json.dumps(value).encode())
rests = st.sampled_from([b"", bytes(3072), bytes(6144), b"\x04\x00\x00\x00file"]) | st.binary(
    max_size=40
)
header_values = (
    st.none()
    | st.just("fits")
    | st.integers(-1, 8_000).map(str)
    | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
)
encodings = st.none() | st.sampled_from(["gzip", "deflate", "identity", "br", ""])
paths = st.sampled_from(["/v2/models/tiny-bn/infer", "/v2/models/tiny-bn/versions/1.0.0/infer"])


@adversarial
@given(
    path=paths,
    text=bodies | st.binary(max_size=200),
    rest=rests,
    header=header_values,
    encoding=encodings,
    accepted=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30),
)
def test_any_infer_body_with_any_headers_is_answered(
    client: AppClient,
    path: str,
    text: bytes,
    rest: bytes,
    header: str | None,
    encoding: str | None,
    accepted: str | None,
) -> None:
    headers = {
        "Inference-Header-Content-Length": str(len(text)) if header == "fits" else header,
        "Content-Encoding": encoding,
        "Accept-Encoding": accepted,
    }
    raw = {name: value.encode("latin-1") for name, value in headers.items() if value is not None}
    check(client.post(path, content=text + rest, headers=raw))


@adversarial
@given(
    what=st.sampled_from(["index", "models/nobody/load", "models/nobody/unload"]),
    body=st.binary(max_size=60)
    | st.fixed_dictionaries({}, optional={"ready": odd(True), "parameters": odd({}) | parameters})
    .map(lambda value: json.dumps(value).encode()),
)  # fmt: skip
def test_any_repository_body_is_answered(client: AppClient, what: str, body: bytes) -> None:
    check(client.post(f"/v2/repository/{what}", content=body))


@adversarial
@given(path=st.text(max_size=60), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]))
def test_any_path_and_method_is_answered(client: AppClient, path: str, method: str) -> None:
    url = "/v2/" + "".join(f"%{byte:02X}" for byte in path.encode("utf-8", "replace"))
    check(client.request(method, url))


LARGE_JSON = {
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"inputs":' * 10_000,
    "nested just below the parser's limit": b'{"inputs":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "a long text": b'{"id":"' + b"A" * 150_000 + b'"}',
    "a text without end": b'{"id":"' + b"A" * 150_000,
    "a long number": b'{"id":' + b"9" * 5_000 + b"}",
    "a long list": b'{"inputs":[' + b"0," * 90_000 + b"0]}",
    "many empty lists": b'{"inputs":[' + b"[]," * 60_000 + b"[]]}",
}


@pytest.mark.parametrize("name", LARGE_JSON)
def test_json_that_is_large_or_deep_is_refused(client: AppClient, name: str) -> None:
    response = client.post("/v2/models/tiny-bn/infer", content=LARGE_JSON[name])
    check(response)
    assert response.status_code in {400, 413}


def test_a_sound_request_is_answered(client: AppClient) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    response = client.post("/v2/models/tiny-bn/infer", json={"inputs": [tensor]})
    assert response.status_code == 200, response.text
