"""What both image routes take, as OpenAPI documents it, and the errors that they may answer."""

from __future__ import annotations

import time
from typing import Any

from service.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    DrainingError,
    MalformedRequestError,
    OverloadedError,
    TooManyPixelsError,
    UndecodableImageError,
    UnknownModelError,
    UnsupportedMediaError,
)

ERRORS = (
    MalformedRequestError,
    UnknownModelError,
    BodyTooLargeError,
    UnsupportedMediaError,
    UndecodableImageError,
    TooManyPixelsError,
    OverloadedError,
    DrainingError,
    DeadlineExceededError,
)


def _images_of(**strings: str) -> dict[str, Any]:
    """Return the schema of an object with a list of strings of this kind."""
    images = {"type": "array", "items": {"type": "string", **strings}}
    return {"schema": {"type": "object", "required": ["images"], "properties": {"images": images}}}


BODY_SCHEMA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as it is, or several as multipart parts or JSON, all of them "
        "named `images`.",
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": _images_of(format="binary"),
            "application/json": _images_of(description="Base64, or `data:` URLs with base64."),
        },
    }
}


def elapsed_ms(started: float) -> float:
    """Return the milliseconds since a reading of the performance counter."""
    return (time.perf_counter() - started) * 1000
