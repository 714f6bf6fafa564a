"""Answers of this protocol that are JSON documents."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

JSON = "application/json"
BINARY = "application/octet-stream"


def document(content: Any) -> Response:
    """Return a document, never compressed: some clients inflate only the answers to infer."""
    return Response(orjson.dumps(content), media_type=JSON)
