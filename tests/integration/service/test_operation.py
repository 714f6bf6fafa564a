"""Probes, metrics, overload and draining of the whole application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.state import ServiceState
from service.app import build_app, build_state
from service.inference.session import Scores
from service.settings import Settings
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

IMAGE = np.full((32, 32, 3), 128, np.uint8)


@pytest.fixture
def state(artifacts: Path) -> ServiceState:
    return build_state(
        Settings(
            artifacts=artifacts,
            threads=1,
            max_images=1,
            max_batch_images=1,
            queue_capacity_images=1,
            max_requests=4,
        )
    )


@pytest.fixture
def client(state: ServiceState) -> Iterator[AppClient]:
    with AppClient(build_app(state)) as client:
        yield client


def test_a_working_service_is_started_live_and_ready(client: AppClient) -> None:
    for probe, status in (("startup", "started"), ("live", "live"), ("ready", "ready")):
        response = client.get(f"/health/{probe}")
        assert (200, {"status": status}) == (response.status_code, response.json())


def test_a_draining_service_is_live_but_not_ready_and_takes_nothing(
    state: ServiceState, client: AppClient
) -> None:
    state.admission.start_draining()
    assert client.get("/health/live").status_code == 200
    assert client.get("/metrics").status_code == 200
    assert client.get("/v2/health/live").status_code == 200
    for method, path in (
        ("GET", "/health/ready"),
        ("GET", "/v1/compare"),
        ("POST", "/v1/predict"),
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/tiny-bn/ready"),
        ("POST", "/v2/models/tiny-bn/infer"),
    ):
        response = client.request(method, path)
        assert response.status_code == 503
        message = response.json()["error" if path.startswith("/v2") else "detail"]
        assert "about to stop" in message
        assert response.headers["retry-after"] == "1"


def test_a_service_whose_model_answers_wrong_is_live_and_not_ready(
    running: Any, answers_with: Any
) -> None:
    with running() as (state, client):
        wrong = Scores(np.zeros((1, 10), np.float32), np.full((1, 10), 0.1, np.float32))
        answers_with(state, "tiny-plain", lambda _: wrong)
        for path, field in (("/health/ready", "detail"), ("/v2/health/ready", "error")):
            response = client.get(path)
            assert response.status_code == 503
            assert "tiny-plain 1.0.0 is not ready: golden logits" in response.json()[field]
        assert client.get("/health/live").status_code == 200


def test_more_requests_than_there_is_room_for_are_refused_and_counted(
    client: AppClient, png: Png
) -> None:
    content = png(IMAGE)

    async def burst() -> list[httpx.Response]:
        posts = [
            client.http.post("/v1/predict", content=content, headers={"content-type": "image/png"})
            for _ in range(12)
        ]
        return await asyncio.gather(*posts)

    responses = client.run(burst())
    statuses = [response.status_code for response in responses]
    assert {200, 503} == set(statuses)
    for response in responses:
        if response.status_code == 503:
            assert response.json()["type"] == "urn:foldnorm:problem:overloaded"
            assert int(response.headers["retry-after"]) >= 1
    text = client.get("/metrics").text
    refused = float(statuses.count(503))
    assert f'foldnorm_rejections_total{{reason="overloaded"}} {refused}' in text


def test_a_request_is_counted_under_its_route(client: AppClient) -> None:
    client.get("/v1/models/tiny-bn")
    client.get("/v1/models/tiny-plain")
    text = client.get("/metrics").text
    counted = 'foldnorm_requests_total{method="GET",route="/v1/models/{name}",status="200"} 2.0'
    assert counted in text


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


def test_a_caller_that_allows_less_time_is_answered_within_it(
    state: ServiceState, client: AppClient
) -> None:
    response = client.post_image("/v1/predict?timeout_ms=20", never())
    assert response.status_code == 504
    assert "no answer within 20 ms" in response.json()["detail"]
    name = state.catalogue.default.name
    failure = f'nv_inference_request_failure{{model="{name}",reason="REJECTED",version="1.0.0"}}'
    assert f"{failure} 1.0" in client.get("/metrics").text


def test_a_caller_cannot_allow_more_time_than_the_server(artifacts: Path) -> None:
    state = build_state(Settings(artifacts=artifacts, threads=1, deadline_ms=20))
    with AppClient(build_app(state)) as client:
        response = client.post_image("/v1/predict?timeout_ms=60000", never())
    assert response.status_code == 504
    assert "no answer within 20 ms" in response.json()["detail"]


def test_what_triton_calls_it_is_what_was_done(client: AppClient, png: Png) -> None:
    for content in (png(IMAGE), png(IMAGE), b"no image"):
        client.post_image("/v1/predict", content)
    text = client.get("/metrics").text
    labels = 'model="tiny-bn",version="1.0.0"'
    for name, value in (("request_success", 2), ("count", 2), ("exec_count", 2)):
        assert f"nv_inference_{name}{{{labels}}} {value}.0" in text
    assert (
        'nv_inference_request_failure{model="tiny-bn",reason="OTHER",version="1.0.0"} 1.0' in text
    )
