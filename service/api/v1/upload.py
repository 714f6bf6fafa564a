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

BODY_SCHEMA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as it is, or several as multipart parts or JSON, all of them "
        "named `images`.",
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Base64, or `data:` URLs with base64.",
                        }
                    },
                }
            },
        },
    }
}


def elapsed_ms(started: float) -> float:
    """Return the milliseconds since a reading of the performance counter."""
    return (time.perf_counter() - started) * 1000
