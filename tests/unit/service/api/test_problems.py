from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from starlette.requests import ClientDisconnect

from service.api.admission import Admission
from service.api.middleware.access_log import AccessMiddleware
from service.api.middleware.request_id import RequestIdMiddleware
from service.api.problems import install_problem_handlers
from service.errors import OverloadedError, ServiceError, TooManyPixelsError
from service.observability.prometheus import ServiceMetrics
from tests.asgi_client import AppClient

api = FastAPI()
install_problem_handlers(api)


@api.get("/pixels")
async def pixels() -> None:
    raise TooManyPixelsError("half a pair: \ud800")


@api.get("/full")
async def full(seconds: float) -> None:
    raise OverloadedError("the queue is full", seconds)


@api.get("/number")
async def number(value: Annotated[int, Query(ge=1)]) -> int:
    return value


@api.get("/secret")
async def secret() -> None:
    raise RuntimeError("the password is 1234")


@api.get("/unmapped")
async def unmapped() -> None:
    raise ServiceError("the password is 1234")


@api.post("/hung-up")
async def hung_up() -> None:
    raise ClientDisconnect


@pytest.fixture(scope="module")
def client() -> Iterator[AppClient]:
    access = AccessMiddleware(api, ServiceMetrics(), Admission(max_requests=1))
    with AppClient(RequestIdMiddleware(access)) as client:
        yield client


def problem(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = json.loads(response.content)
    assert body.pop("request_id") == response.headers["x-request-id"]
    assert body["status"] == response.status_code
    return body


def test_a_domain_error_becomes_a_problem_that_any_text_fits_into(client: AppClient) -> None:
    assert problem(client.get("/pixels")) == {
        "type": "urn:foldnorm:problem:too-many-pixels",
        "title": "Too many pixels",
        "status": 422,
        "detail": "half a pair: \ud800",
        "instance": "/pixels",
    }


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "1"), (0.2, "1"), (2.1, "3")])
def test_an_overload_says_when_to_come_back(
    client: AppClient, seconds: float, expected: str
) -> None:
    response = client.get("/full", params={"seconds": seconds})
    assert response.status_code == 503
    assert expected == response.headers["retry-after"]


def test_an_invalid_parameter_is_malformed_and_named(client: AppClient) -> None:
    body = problem(client.get("/number?value=0"))
    assert (body["type"], body["status"]) == ("urn:foldnorm:problem:malformed-request", 400)
    assert "query value = '0': " in str(body["detail"])


def test_a_long_value_is_not_repeated_in_full(client: AppClient) -> None:
    assert len(str(problem(client.get("/number?value=" + "x" * 5000))["detail"])) < 300


@pytest.mark.parametrize("path", ["/secret", "/unmapped"])
def test_a_failure_of_the_server_never_leaks(client: AppClient, path: str) -> None:
    response = client.get(path)
    body = problem(response)
    assert (body["type"], body["status"]) == ("urn:foldnorm:problem:internal-error", 500)
    assert "1234" not in response.text


def test_an_unknown_page_is_a_problem_and_its_path_an_uri(client: AppClient) -> None:
    body = problem(client.get("/caf%C3%A9%20x"))
    assert (body["type"], body["instance"]) == ("urn:foldnorm:problem:not-found", "/caf%C3%A9%20x")


def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: AppClient) -> None:
    response = client.post("/pixels")
    assert response.headers["allow"] == "GET"
    assert problem(response)["detail"] == "POST is not answered here; use GET"


def test_a_caller_that_hangs_up_is_no_failure_of_the_server(client: AppClient) -> None:
    assert problem(client.post("/hung-up"))["type"] == "urn:foldnorm:problem:malformed-request"
