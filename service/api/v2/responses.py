"""Errors as this protocol's answers: `{"error": "<what went wrong>"}`, whatever the status.

Its clients read that one field of every answer that is not 200 and fail without it, so pages that
do not exist and failures of the server have it too. The messages are those of `/v1`.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import errors
from service.api.problems import (
    HTTP_PROBLEMS,
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    problem_type,
)

RETRY_AFTER_S = 1.0  # where nothing was measured: a probe's interval is about that
MAX_SHOWN = 80

# Bounded in depth and length: the plain one recurses as deep as a caller nests, and fails.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = MAX_SHOWN


class UnsupportedFeatureError(errors.MalformedRequestError):
    """The request uses a part of the protocol that is not served."""


STATUSES: dict[type[errors.ServiceError], int] = {
    errors.MalformedRequestError: 400,
    errors.UnknownModelError: 404,
    errors.BodyTooLargeError: 413,
    errors.UnsupportedMediaError: 400,
    errors.UndecodableImageError: 400,
    errors.TooManyPixelsError: 400,
    errors.OverloadedError: 503,
    errors.DrainingError: 503,
    errors.ModelRefusedError: 503,
    errors.DeadlineExceededError: 503,
    UnsupportedFeatureError: 501,
}


def install_error_handlers(app: Starlette) -> None:
    """Answer every error of this application in the protocol's shape."""
    app.add_exception_handler(errors.ServiceError, _on_service_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected)


def shown(value: object) -> str:
    """Return a value as a message quotes it, cut where it is long."""
    text = _REPR.repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def status_of(error: errors.ServiceError) -> int:
    """Return the status of an error's class, or of the nearest class above it."""
    rows = (STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return next(rows, INTERNAL_ERROR.status)


def error_response(
    request: Request,
    status: int,
    slug: str,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error's answer, and leave its type for the access log."""
    request.state.problem = slug
    # ASCII: a message may quote half a surrogate pair, which UTF-8 cannot carry.
    content = json.dumps({"error": message}).encode("ascii")
    return Response(content, status, dict(headers or {}), "application/json")


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    status = status_of(error)
    if status == INTERNAL_ERROR.status:
        return await _on_unexpected(request, error)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = getattr(error, "retry_after_s", RETRY_AFTER_S)
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return error_response(request, status, problem_type(error).slug, str(error), headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    row = HTTP_PROBLEMS.get(status)
    message = str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        message = f"nothing is served under {shown(request.scope['path'])}; GET /v2 names what is"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        headers["Allow"] = allowed
        message = f"{request.method[:20]} is not answered here; use {allowed}"
    slug = row.slug if row else f"http-{status}"
    return error_response(request, status, slug, message, headers)


async def _on_disconnect(request: Request, _error: Exception) -> Response:
    """Answer nobody: the caller hung up, and only the log will know."""
    message = "the caller hung up before the body ended"
    return error_response(request, MALFORMED_REQUEST.status, MALFORMED_REQUEST.slug, message)


async def _on_unexpected(request: Request, _error: Exception) -> Response:
    """Say nothing of what happened; the log has it under the request id."""
    message = "the server failed; its log has the reason under this answer's X-Request-ID"
    return error_response(request, INTERNAL_ERROR.status, INTERNAL_ERROR.slug, message)


JSON = "application/json"
BINARY = "application/octet-stream"


def document(content: Any) -> Response:
    """Return a document, never compressed: some clients inflate only the answers to infer."""
    return Response(orjson.dumps(content), media_type=JSON)
