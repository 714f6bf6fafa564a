"""A body's two parts: JSON, and the tensors that follow it byte for byte.

Inference-Header-Content-Length absent     JSON alone
0          one tensor alone
n          n bytes of JSON, then the tensors
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.tensors import ImageSpec
from service.api.v2.fields import HEADER, parse_object
from service.api.v2.responses import shown
from service.errors import MalformedRequestError
from service.settings import Limits


@dataclass(frozen=True)
class Envelope:
    """The JSON object of a body, None for a tensor alone, its text, and the bytes after it."""

    table: dict[str, Any] | None
    text: bytes
    rest: memoryview


def open_envelope(body: bytes, header: str | None, limits: Limits, spec: ImageSpec) -> Envelope:
    """Return the parts of a body; the bytes after the JSON are not copied.

    Raises:
        MalformedRequestError: the header is no length within the body, or the JSON is none.
        BodyTooLargeError: the JSON lists more than the images of one request.
    """
    height, width, _ = spec.image_shape
    max_numbers = limits.max_images * spec.image_bytes
    max_lists = limits.max_images * (1 + height + height * width)
    if header is None:
        return Envelope(parse_object(body, max_numbers, max_lists), body, memoryview(b""))
    length = _header_length(header, len(body))
    text, rest = body[:length], memoryview(body)[length:]
    table = parse_object(text, max_numbers, max_lists) if text else None
    return Envelope(table, text, rest)


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
