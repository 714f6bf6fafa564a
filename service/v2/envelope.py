"""A body's two parts: JSON, and the tensors that follow it byte for byte.

Inference-Header-Content-Length absent     JSON alone
0          one tensor alone
n          n bytes of JSON, then the tensors
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from service.errors import BodyTooLargeError, MalformedRequestError
from service.v2.errors import shown

if TYPE_CHECKING:
    from service.limits import Limits

HEADER = "Inference-Header-Content-Length"
SIDE, CHANNELS = 32, 3
# Names, shapes, parameters and outputs: far more of each than any request has use for.
SPARE_ITEMS = 512


@dataclass(frozen=True)
class Envelope:
    """The JSON object of a body, None for a tensor alone, its text, and the bytes after it."""

    table: dict[str, Any] | None
    text: bytes
    rest: memoryview


def open_envelope(body: bytes, header: str | None, limits: Limits) -> Envelope:
    """Return the parts of a body; the bytes after the JSON are not copied.

    Raises:
        MalformedRequestError: the header is no length within the body, or the JSON is none.
        BodyTooLargeError: the JSON lists more than the images of one request.
    """
    if header is None:
        return Envelope(parse_object(body, limits), body, memoryview(b""))
    length = _header_length(header, len(body))
    text, rest = body[:length], memoryview(body)[length:]
    return Envelope(parse_object(text, limits) if text else None, text, rest)


def parse_object(text: bytes, limits: Limits) -> dict[str, Any]:
    """Return the table that JSON text holds.

    Raises:
        MalformedRequestError: the text is no JSON object.
        BodyTooLargeError: it lists more than the images of one request.
    """
    _check_items(text, limits)
    try:
        table = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise MalformedRequestError(
            f"the {len(text):,} bytes of JSON cannot be read: {exc}; send one JSON object, and "
            f"with bytes after it its length in {HEADER}"
        ) from exc
    if not isinstance(table, dict):
        raise MalformedRequestError(
            f"the JSON is a {type(table).__name__}; send an object with 'inputs'"
        )
    return table


def _header_length(header: str, body_bytes: int) -> int:
    number = header.strip()
    # No length of a body has more digits, and longer ones would be slow to read as numbers.
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise MalformedRequestError(
            f"{HEADER} is {shown(header)}; send the number of bytes of the JSON, or none of it"
        )
    if int(number) > body_bytes:
        raise MalformedRequestError(
            f"inference header size should be in range (0, {body_bytes}), got: {int(number)}; "
            f"send the number of bytes of the JSON in {HEADER}"
        )
    return int(number)


def _check_items(text: bytes, limits: Limits) -> None:
    """Refuse before parsing what would become far more objects than the pixels that are taken."""
    pixels = limits.max_images * SIDE * SIDE * CHANNELS
    rows = limits.max_images * (1 + SIDE + SIDE * SIDE)
    if text.count(b",") > pixels + SPARE_ITEMS or text.count(b"[") > rows + SPARE_ITEMS:
        raise BodyTooLargeError(
            f"the JSON lists far more than {limits.max_images} images; at most that many are "
            "taken; send them in several requests, or as binary data"
        )
    if text.count(b"{") > SPARE_ITEMS:
        raise MalformedRequestError(
            f"the JSON has more than {SPARE_ITEMS} objects; one input and two outputs have fewer"
        )
