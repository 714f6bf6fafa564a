"""Errors as answers: RFC 9457 `application/problem+json`.

The one place where an error of the domain gets a status and a type. docs/problems.md has a
heading for each type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:foldnorm:problem:"
MAX_INPUT_SHOWN = 60


class Problem(BaseModel):
    """An error as RFC 9457 has it, and the id to find it in the logs."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:foldnorm:problem:too-many-pixels"])
    title: str
    status: int
    detail: str
    instance: str = Field(examples=["/v1/predict"])
    request_id: str


@dataclass(frozen=True)
class ProblemType:
    """What is the same in every answer of this type."""

    status: int
    slug: str
    title: str

    @property
    def uri(self) -> str:
        """The `type` of the answer."""
        return TYPE_PREFIX + self.slug


PROBLEMS: dict[type[errors.ServiceError], ProblemType] = {
    errors.MalformedRequestError: ProblemType(400, "malformed-request", "Malformed request"),
    errors.UnknownModelError: ProblemType(404, "unknown-model", "Unknown model"),
    errors.BodyTooLargeError: ProblemType(413, "body-too-large", "Body too large"),
    errors.UnsupportedMediaError: ProblemType(415, "unsupported-media", "Unsupported media type"),
    errors.UndecodableImageError: ProblemType(422, "undecodable-image", "Undecodable image"),
    errors.TooManyPixelsError: ProblemType(422, "too-many-pixels", "Too many pixels"),
    errors.OverloadedError: ProblemType(503, "overloaded", "Overloaded"),
    errors.DrainingError: ProblemType(503, "draining", "About to stop"),
    errors.ModelRefusedError: ProblemType(503, "model-refused", "Model refused"),
    errors.DeadlineExceededError: ProblemType(504, "deadline-exceeded", "Deadline exceeded"),
}
NOT_FOUND = ProblemType(404, "not-found", "Not found")
METHOD_NOT_ALLOWED = ProblemType(405, "method-not-allowed", "Method not allowed")
INTERNAL_ERROR = ProblemType(500, "internal-error", "Internal error")

MALFORMED_REQUEST = PROBLEMS[errors.MalformedRequestError]
HTTP_PROBLEMS = {
    400: MALFORMED_REQUEST,
    404: NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
    413: PROBLEMS[errors.BodyTooLargeError],
    415: PROBLEMS[errors.UnsupportedMediaError],
}
EVERY_PROBLEM = (*PROBLEMS.values(), NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL_ERROR)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of this application with a problem."""
    app.add_exception_handler(errors.ServiceError, answer_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ClientDisconnect, answer_disconnect)
    app.add_exception_handler(Exception, answer_unexpected)


def problem_type(error: errors.ServiceError) -> ProblemType:
    """Return the row of an error's class, or of the nearest class above it."""
    rows = (PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)
    return next(rows, INTERNAL_ERROR)


def problem_responses(*classes: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these errors: one response per status, one example per type.

    `default` stands for those that any route may answer.
    """
    responses: dict[int | str, dict[str, Any]] = {
        "default": _documented("Any other error", INTERNAL_ERROR)
    }
    for row in (PROBLEMS[cls] for cls in classes):
        description = HTTPStatus(row.status).phrase
        response = responses.setdefault(row.status, _documented(description, row))
        response["content"][MEDIA_TYPE]["examples"][row.slug] = _example(row)
    return responses


def _documented(description: str, row: ProblemType) -> dict[str, Any]:
    content = {"schema": Problem.model_json_schema(), "examples": {row.slug: _example(row)}}
    return {"description": description, "content": {MEDIA_TYPE: content}}


def _example(row: ProblemType) -> dict[str, Any]:
    return {"value": {"type": row.uri, "title": row.title, "status": row.status}}


def problem_response(
    request: Request, row: ProblemType, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem's answer, and leave its type for the access log."""
    request.state.problem = row.slug
    problem = Problem(
        type=row.uri,
        title=row.title,
        status=row.status,
        detail=detail,
        instance=quote(request.scope["path"], errors="replace"),
        request_id=request.state.request_id,
    )
    # ASCII: a detail may quote half a surrogate pair, which UTF-8 cannot carry.
    content = json.dumps(problem.model_dump()).encode("ascii")
    return Response(content, row.status, dict(headers or {}), MEDIA_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the answer to an error of the domain."""
    assert isinstance(error, errors.ServiceError)
    row = problem_type(error)
    if row is INTERNAL_ERROR:
        return await answer_unexpected(request, error)
    headers = {}
    if isinstance(error, errors.OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return problem_response(request, row, str(error), headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    unnamed = ProblemType(error.status_code, f"http-{error.status_code}", phrase)
    row = HTTP_PROBLEMS.get(error.status_code, unnamed)
    detail = str(error.detail)
    if row is NOT_FOUND:
        detail = "no such page; /docs lists what there is"
    elif row is METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another one")
        detail = f"{request.method[:20]} is not answered here; use {allowed}"
    return problem_response(request, row, detail, error.headers)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(_describe(entry) for entry in error.errors())
    return problem_response(request, MALFORMED_REQUEST, detail)


def _describe(entry: Mapping[str, Any]) -> str:
    place = " ".join(str(part) for part in entry["loc"])
    shown = repr(entry.get("input"))
    if len(shown) > MAX_INPUT_SHOWN:
        shown = shown[:MAX_INPUT_SHOWN] + "…"
    return f"{place} = {shown}: {entry['msg']}"


async def answer_disconnect(request: Request, _error: Exception) -> Response:
    """Answer nobody: the caller hung up, and only the log will know."""
    return problem_response(request, MALFORMED_REQUEST, "the caller hung up before the body ended")


async def answer_unexpected(request: Request, _error: Exception) -> Response:
    """Say nothing of what happened; the log has it under the request id."""
    detail = "the server failed; its log has the reason under this request id"
    return problem_response(request, INTERNAL_ERROR, detail)
