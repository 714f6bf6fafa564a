"""What /openapi.json promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.api.problems import PROBLEMS
from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient

ROUTES = {
    ("/v1/predict", "post"),
    ("/v1/compare", "post"),
    ("/v1/compare", "get"),
    ("/v1/models", "get"),
    ("/v1/models/{name}", "get"),
    ("/v1/models/{name}/history", "get"),
    ("/v1/tuning", "get"),
    ("/v1/shadow", "get"),
    ("/health/startup", "get"),
    ("/health/live", "get"),
    ("/health/ready", "get"),
    ("/metrics", "get"),
}


@pytest.fixture(scope="module")
def document(artifacts: Path) -> dict[str, Any]:
    with AppClient(create_app(Settings(artifacts=artifacts))) as client:
        answer: dict[str, Any] = client.get("/openapi.json").json()
        return answer


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_promised_route_is_there(document: dict[str, Any]) -> None:
    assert set(operations(document)) >= ROUTES


def test_every_error_is_promised_as_a_problem_by_some_route(document: dict[str, Any]) -> None:
    promised = set()
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            examples = response.get("content", {}).get("application/problem+json", {})
            for slug in examples.get("examples", {}):
                promised.add((status, slug))
    assert {(str(row.status), row.slug) for row in PROBLEMS.values()} <= promised


def test_no_error_is_promised_in_another_shape(document: dict[str, Any]) -> None:
    for place, operation in operations(document).items():
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                assert list(response["content"]) == ["application/problem+json"], place
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/compare"])
def test_the_ways_to_send_images_are_described(document: dict[str, Any], path: str) -> None:
    body = document["paths"][path]["post"]["requestBody"]
    assert {"image/*", "multipart/form-data", "application/json"} == set(body["content"])


def test_every_route_says_what_it_does(document: dict[str, Any]) -> None:
    for place, operation in operations(document).items():
        assert operation["description"], place


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/predict", {"model", "top_k", "timeout_ms"}),
        ("/v1/compare", {"models", "top_k", "timeout_ms", "pixels"}),
    ],
)
def test_what_may_be_asked_for_is_described(
    document: dict[str, Any], path: str, names: set[str]
) -> None:
    parameters = document["paths"][path]["post"]["parameters"]
    assert {parameter["name"] for parameter in parameters} == names
    for parameter in parameters:
        assert parameter["in"] == "query"
        assert not parameter["required"]
        assert parameter["description"]
