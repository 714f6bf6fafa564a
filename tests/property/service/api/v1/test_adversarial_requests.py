"""Whatever is posted: no 500, no hang, bounded memory, and errors always as problems."""

from __future__ import annotations

import base64
import io
import json
import resource
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.api.problems import EVERY_PROBLEM
from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient

ALLOWED = {200, 400, 404, 405, 413, 415, 422}
TYPES = {row.uri for row in EVERY_PROBLEM}
MAX_BODY, MAX_PIXELS = 200_000, 1_000_000
# A decoded image of MAX_PIXELS takes a few copies of at most 4 bytes a pixel, in one thread.
MEMORY_GROWTH_BYTES = 200 * 2**20

# The application and its loop live as long as the module; each example is a request to them.
adversarial = settings(
    max_examples=150,
    deadline=None,  # bounded by the client's own timeout
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    limits = {"max_body_bytes": MAX_BODY, "max_pixels": MAX_PIXELS, "max_images": 8}
    with AppClient(create_app(Settings(artifacts=artifacts, threads=1, **limits))) as client:
        yield client


def encode(form: str, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(buffer, form)
    return buffer.getvalue()


MODES = [("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("JPEG", "L")]
SEEDS = {form: encode(form) for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP")}
SEEDS |= {f"{form} {mode}": encode(form, mode) for form, mode in MODES}

cuts = st.tuples(st.floats(0, 1), st.integers(0, 6), st.binary(max_size=12))


def mutate(name: str, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Return an image with a few bytes cut out and others put in, at relative places."""
    content = SEEDS[name]
    for place, removed, inserted in edits:
        position = int(place * len(content))
        content = content[:position] + inserted + content[position + removed :]
    return content


damaged_images = st.builds(mutate, st.sampled_from(list(SEEDS)), st.lists(cuts, max_size=6))
image_bytes = st.binary(max_size=400) | damaged_images

encoded_images = image_bytes.map(lambda content: base64.b64encode(content).decode("ascii"))
data_urls = encoded_images.map(lambda text: f"data:image/png;base64,{text}")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | encoded_images,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
image_lists = st.lists(encoded_images | data_urls | anything, max_size=12)
json_bodies = (anything | st.fixed_dictionaries({"images": image_lists})).map(
    lambda value: json.dumps(value).encode()
)
odd_json = st.sampled_from(
    [
        b'{"images":["\\ud800"]}',
        b'{"images":null}',
        b'{"images":[1e999]}',
        b'{"images":["\\u0000"]}',
        b"\xff\xfe{\x00}",
        b"\xef\xbb\xbf{}",
    ]
)
BOUNDARY = b"limit"


def multipart(parts: list[tuple[bytes, bytes]], ending: bytes) -> bytes:
    head = b"--" + BOUNDARY + b"\r\n"
    return (
        b"".join(head + headers + b"\r\n\r\n" + content + b"\r\n" for headers, content in parts)
        + ending
    )


part_headers = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="images"; filename="a"\r\nContent-Type: image/png',
        b'Content-Disposition: form-data; name="images"',
        b'Content-Disposition: form-data; name="other"; filename="../../etc/passwd"',
        b"Content-Disposition: form-data",
        b"Content-Type: text/plain; charset=nonsense",
        b"Content-Disposition: form-data; name=\"images\"; filename*=utf-8''%ff%fe",
        b"",
        b"\xff\xff: \x00",
        b"X: " + b"y" * 2000,
    ]
)
multipart_bodies = st.builds(
    multipart,
    st.lists(st.tuples(part_headers, image_bytes), max_size=12),
    st.sampled_from([b"--" + BOUNDARY + b"--\r\n", b"--" + BOUNDARY, b"", b"\r\n--lim"]),
)

bodies = image_bytes | json_bodies | odd_json | multipart_bodies
content_types = st.none() | st.sampled_from(
    [
        "image/png",
        "image/jpeg",
        "image/*",
        "image/",
        "image/svg+xml",
        "IMAGE/PNG; q=1",
        "application/json",
        "application/json; charset=utf-16",
        "application/vnd.api+json",
        "multipart/form-data",
        "multipart/form-data; boundary=limit",
        'multipart/form-data; boundary="limit"',
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        "multipart/mixed; boundary=limit",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "text/html",
        "/",
        ";",
        "",
        "é",
    ]
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=200)
headers = st.dictionaries(
    st.sampled_from(
        [
            "X-Request-ID",
            "Accept",
            "Content-Encoding",
            "Transfer-Encoding",
            "Content-Length",
            "Range",
        ]
    ),
    header_values | st.sampled_from(["-1", "0", "99999999999999999999", "gzip", "chunked"]),
    max_size=3,
)
queries = st.dictionaries(
    st.sampled_from(["model", "models", "top_k", "x"]) | st.text(max_size=5),
    st.sampled_from(
        ["tiny-bn", "tiny-bn,tiny-plain", "tiny-bn@1.0.0", ",", "3", "-1", "1e9", "9" * 300]
    )
    | st.text(max_size=40),
    max_size=3,
)


def check(response: httpx.Response) -> None:
    assert response.status_code in ALLOWED, response.text
    assert response.headers["x-request-id"]
    if response.status_code == 200:
        return
    assert response.headers["content-type"] == "application/problem+json"
    body = json.loads(response.content)
    assert body["status"] == response.status_code
    assert body["type"] in TYPES
    assert body["request_id"] == response.headers["x-request-id"]
    assert 0 < len(body["detail"]) < 2000


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@adversarial
@given(
    path=st.sampled_from(["/v1/predict", "/v1/compare"]),
    body=bodies,
    content_type=content_types,
    query=queries,
    more=headers,
)
def test_any_body_with_any_headers_is_answered(
    client: AppClient,
    path: str,
    body: bytes,
    content_type: str | None,
    query: dict[str, str],
    more: dict[str, str],
) -> None:
    raw = {name: value.encode("latin-1") for name, value in more.items()}
    if content_type is not None:
        raw["content-type"] = content_type.encode("latin-1")
    check(client.post(path, content=body, headers=raw, params=_encodable(query)))


@adversarial
@given(path=st.text(max_size=60), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]))
def test_any_path_and_method_is_answered(client: AppClient, path: str, method: str) -> None:
    url = "/" + "".join(f"%{byte:02X}" for byte in path.encode("utf-8", "replace"))
    check(client.request(method, url))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that announces and holds one black bit for each pixel, compressed a thousandfold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_many_large_images_at_once_stay_within_bounded_memory(client: AppClient) -> None:
    image = base64.b64encode(png_bomb(1000, 1000)).decode("ascii")
    before = peak_memory()
    for _ in range(3):
        response = client.post("/v1/predict", json={"images": [image] * 8})
        assert response.status_code == 200, response.text
    assert peak_memory() - before < MEMORY_GROWTH_BYTES


def _encodable(query: dict[str, str]) -> dict[str, str]:
    """Without the halves of surrogate pairs, which no URL can carry."""
    return {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in query.items()
    }
