"""Real answers are what /openapi.json says that they are, also where no framework made them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

GETS = {
    "/v1/compare": "/v1/compare",
    "/v1/models": "/v1/models",
    "/v1/models/tiny-bn": "/v1/models/{name}",
    "/v1/models/tiny-bn-unfolded": "/v1/models/{name}",
    "/v1/models/tiny-bn/history": "/v1/models/{name}/history",
    "/v1/tuning": "/v1/tuning",
    "/v1/shadow": "/v1/shadow",
    "/health/startup": "/health/startup",
    "/health/live": "/health/live",
    "/health/ready": "/health/ready",
}
KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    settings = Settings(artifacts=artifacts, threads=1, shadow_fraction=1.0, cache_answers=4)
    with AppClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: AppClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").json()
    return answer


def schema_of(document: dict[str, Any], path: str, method: str, media: str) -> dict[str, Any]:
    responses = document["paths"][path][method]["responses"]
    status = "200" if media == "application/json" else "404"
    schema: dict[str, Any] = responses[status]["content"][media]["schema"]
    return schema


def findings(
    document: dict[str, Any], schema: dict[str, Any], value: Any, place: str = ""
) -> list[str]:
    """Return where a value is not what a schema says; a field that is not described is one."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return findings(document, document["components"]["schemas"][name], value, place)
    if "anyOf" in schema:
        each = [findings(document, one, value, place) for one in schema["anyOf"]]
        return min(each, key=len)
    if "enum" in schema or "const" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [] if value in allowed else [f"{place} = {value!r} is none of {allowed}"]
    kind = schema.get("type")
    is_boolean = isinstance(value, bool) and kind != "boolean"
    if kind is not None and (is_boolean or not isinstance(value, KINDS[kind])):
        return [f"{place} = {value!r} is no {kind}"]
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        pairs = zip(items, value, strict=True)
        return [
            found
            for number, (item, one) in enumerate(pairs)
            for found in findings(document, item, one, f"{place}/{number}")
        ]
    return _findings_in_fields(document, schema, value, place) if kind == "object" else []


def _findings_in_fields(
    document: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], place: str
) -> list[str]:
    described = schema.get("properties", {})
    found = [
        f"{place}/{name} is missing" for name in schema.get("required", []) if name not in value
    ]
    others = schema.get("additionalProperties", not described)
    for name, one in value.items():
        inner = described.get(name, others)
        if inner is False:
            found.append(f"{place}/{name} is not described")
        elif inner is not True:
            found += findings(document, inner, one, f"{place}/{name}")
    return found


def post(client: AppClient, png: Png, path: str) -> httpx.Response:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return client.post(path, content=png(image), headers={"content-type": "image/png"})


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/compare"])
def test_answers_to_images_are_as_described(
    client: AppClient, document: dict[str, Any], png: Png, path: str
) -> None:
    for query in ("", "?top_k=1&timeout_ms=9000"):
        answer = post(client, png, path + query).json()
        schema = schema_of(document, path, "post", "application/json")
        assert findings(document, schema, answer) == []


@pytest.mark.parametrize("path", GETS)
def test_documents_are_as_described(client: AppClient, document: dict[str, Any], path: str) -> None:
    schema = schema_of(document, GETS[path], "get", "application/json")
    assert findings(document, schema, client.get(path).json()) == []


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/compare"])
def test_refusals_are_as_described(
    client: AppClient, document: dict[str, Any], png: Png, path: str
) -> None:
    response = post(client, png, f"{path}?model=none&models=none")
    assert response.status_code == 404
    schema = schema_of(document, path, "post", "application/problem+json")
    assert findings(document, schema, response.json()) == []


def test_an_answer_of_another_shape_would_be_noticed(
    client: AppClient, document: dict[str, Any], png: Png
) -> None:
    right = post(client, png, "/v1/predict").json()
    schema = schema_of(document, "/v1/predict", "post", "application/json")

    def wrong(change: Callable[[Any], object]) -> list[str]:
        answer = copy.deepcopy(right)
        change(answer)
        return findings(document, schema, answer)

    assert wrong(lambda a: a.pop("request_id")) == ["/request_id is missing"]
    assert wrong(lambda a: a.update(more=1)) == ["/more is not described"]
    assert wrong(lambda a: a["timing_ms"].update(run="1")) == ["/timing_ms/run = '1' is no number"]
    assert wrong(lambda a: a["predictions"][0].update(index=True)) == [
        "/predictions/0/index = True is no integer"
    ]
    assert "is none of" in wrong(lambda a: a["model"].update(variant="best"))[0]
    assert wrong(lambda _: None) == []
