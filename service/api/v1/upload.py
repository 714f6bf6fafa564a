"""What both image routes do first: admit the request, read its images, decode them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from service.api.body import read_images
from service.api.state import ServiceState
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


@dataclass(frozen=True)
class Intake:
    """Decoded images (N, 32, 32, 3), and how long decoding took, its wait for a thread included."""

    images: NDArray[np.uint8]
    decode_ms: float


async def take_images(request: Request, service: ServiceState) -> Intake:
    """Read and decode the images of a request, and count them for its log line."""
    contents = await read_images(request, service.settings)
    started = time.perf_counter()
    images = await service.decode(contents)
    decode_ms = elapsed_ms(started)
    request.state.images = len(images)
    return Intake(images, decode_ms)


def elapsed_ms(started: float) -> float:
    """Return the milliseconds since a reading of the performance counter."""
    return (time.perf_counter() - started) * 1000
