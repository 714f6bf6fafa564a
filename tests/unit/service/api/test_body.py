"""The three forms of a body, and every way in which one can be wrong."""

import base64
import json
import tracemalloc

import pytest
from starlette.requests import ClientDisconnect, Request

from service.api.body import read_images
from service.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaError
from service.settings import Limits

LIMITS = Limits(max_body_bytes=1_000, max_images=3)
BOUNDARY = "----edge"


class Body:
    """Sends chunks as a server would, and counts those that were asked for."""

    def __init__(self, *chunks, hangs_up=False):
        self.messages = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        end = {"type": "http.request", "body": b"", "more_body": False}
        self.messages.append({"type": "http.disconnect"} if hangs_up else end)
        self.sent = 0

    async def receive(self):
        self.sent += 1
        return self.messages[self.sent - 1]


async def read(body, content_type="image/png", limits=LIMITS, **headers):
    if not isinstance(body, Body):
        body = Body(body)
    fields = {"content-type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = [(k.encode(), v.encode()) for k, v in fields.items() if v is not None]
    scope = {"type": "http", "method": "POST", "headers": raw, "path": "/", "query_string": b""}
    return await read_images(Request(scope, body.receive), limits)


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/JPEG; q=1", "application/octet-stream"])
async def test_one_image_comes_as_it_is(kind):
    assert await read(Body(b"ab", b"", b"cd"), kind) == [b"abcd"]


def form(*parts, end=True):
    lines = b""
    for name, filename, content in parts:
        given = f'; filename="{filename}"' if filename else ""
        lines += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{given}\r\n'.encode()
        )
        lines += b"Content-Type: image/png\r\n\r\n" + content + b"\r\n"
    return lines + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


FORM = f"multipart/form-data; boundary={BOUNDARY}"


async def test_several_images_come_as_parts_in_their_order():
    body = form(("images", "1.png", b"one"), ("images", "2.png", b"two"))
    assert await read(body, FORM) == [b"one", b"two"]


async def test_several_images_come_as_json_in_base64_or_data_urls():
    text = base64.b64encode(b"\xff\x00").decode()
    body = json.dumps({"images": [text, f"data:image/png;base64,{text}"]}).encode()
    assert await read(body, "application/json; charset=utf-8") == [b"\xff\x00"] * 2


async def test_an_announced_body_that_is_too_large_is_not_read():
    body = Body(b"x")
    with pytest.raises(BodyTooLargeError, match=r"has 1,001 bytes; at most 1,000"):
        await read(body, content_length="1001")
    assert body.sent == 0


@pytest.mark.parametrize("length", ["9" * 5_000, "99999999999999999999999"])
async def test_an_absurd_length_is_too_large_too(length):
    with pytest.raises(BodyTooLargeError):
        await read(b"x", content_length=length)


async def test_an_unannounced_body_is_refused_at_the_first_chunk_too_many():
    body = Body(*[b"x" * 400] * 10)
    with pytest.raises(BodyTooLargeError, match="more than 1,000 bytes"):
        await read(body)
    assert body.sent == 3


async def test_a_body_of_just_the_limit_is_taken():
    assert await read(b"x" * 1_000, content_length="1000") == [b"x" * 1_000]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps({"images": ["YQ=="] * 4}).encode(), "application/json"),
        (form(*[("images", "a.png", b"a")] * 4), FORM),
        (form(*[("images", "a.png", b"a")] * 6), FORM),
    ],
    ids=["JSON", "parts", "more parts"],
)
async def test_too_many_images_are_refused_with_the_limit(body, kind):
    with pytest.raises(BodyTooLargeError, match=r"at most 3|more than 3"):
        await read(body, kind)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe\xff", "the body is not JSON"),
        (b"[]", 'the JSON must be {"images"'),
        (b'{"image": []}', "the JSON must be"),
        (b'{"images": "YQ=="}', "the JSON must be"),
        (b'{"images": [], "more": 1}', "the JSON must be"),
        (b'{"images": []}', "brings no image"),
        (b'{"images": [1]}', r"images\[0\] is a int; send base64"),
        (b'{"images": ["YQ==", "?"]}', r"images\[1\] is not base64"),
        ('{"images": ["é"]}'.encode(), r"images\[0\] is not base64"),
        (b'{"images": ["data:image/png,raw"]}', "a data URL without"),
        (b'{"images": [""]}', "image 0 of 1 is empty"),
    ],
)
async def test_wrong_json_says_what_is_wrong(body, message):
    with pytest.raises(MalformedRequestError, match=message):
        await read(body, "application/json")


@pytest.mark.parametrize(
    "filling",
    [b"{}," * 500_000, b"[]," * 500_000, b"1," * 500_000],
    ids=["tables", "lists", "numbers"],
)
async def test_json_that_would_become_far_too_many_objects_is_not_parsed(filling):
    body = b'{"images": [' + filling + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises((MalformedRequestError, BodyTooLargeError)):
            await read(body, "application/json", Limits())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        json.loads(body)
        _, parsed = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * len(body) < parsed / 2  # its chunks are joined, and that is all


async def test_json_beyond_all_depth_and_length_is_refused():
    number = b'{"images": [' + b"9" * 5_000 + b"]}"
    for body, finding in ((b"[" * 200_000, "the JSON must be"), (number, "is not JSON")):
        with pytest.raises(MalformedRequestError, match=finding):
            await read(body, "application/json", Limits())


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (form(("photo", "a.png", b"a")), FORM, "the part 'photo' is not taken"),
        (form(("images", None, b"a")), FORM, "cannot be read|is not taken"),
        (form(("images", "a.png", b"a"), end=False), FORM, "ends before its last boundary"),
        (form(("images", "a.png", b"")), FORM, "image 0 of 1 is empty"),
        (form(), FORM, "brings no image"),
        (form(("images", "a.png", b"a")), "multipart/form-data", "cannot be read"),
        (b"garbage", FORM, "cannot be read|ends before"),
    ],
    ids=["name", "text", "cut off", "empty", "no part", "no boundary", "garbage"],
)
async def test_a_wrong_form_says_what_is_wrong(body, kind, message):
    with pytest.raises(MalformedRequestError, match=message):
        await read(body, kind)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", None])
async def test_other_content_types_are_refused_with_those_that_are_taken(kind):
    with pytest.raises(UnsupportedMediaError, match=r"is not taken; send image/\*"):
        await read(b"x", kind)


async def test_a_compressed_body_is_refused():
    with pytest.raises(UnsupportedMediaError, match="'gzip' is not taken; send the body uncomp"):
        await read(b"x", content_encoding="gzip")
    assert await read(b"x", content_encoding="identity") == [b"x"]


async def test_a_caller_who_hangs_up_is_no_bad_request():
    with pytest.raises(ClientDisconnect):
        await read(Body(b"half", hangs_up=True))
