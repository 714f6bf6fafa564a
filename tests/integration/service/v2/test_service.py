"""`/v2` in the whole service, with real networks in real onnxruntime, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_bundle
from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient

INFER = "/v2/models/tiny-bn/infer"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    with AppClient(create_app(Settings(artifacts=artifacts, threads=1, cuda="off"))) as client:
        yield client


@pytest.fixture(scope="module")
def images(artifacts: Path) -> NDArray[np.uint8]:
    return load_bundle(artifacts / "tiny-bn-1.0.0").read_golden().images


def infer(
    client: AppClient, images: NDArray[np.uint8], path: str = INFER, **more: Any
) -> httpx.Response:
    """Ask for all outputs, with the images after the JSON."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    parameters = {"binary_data_size": images.nbytes}
    text = json.dumps({"inputs": [{**tensor, "parameters": parameters}], **more}).encode()
    return client.post(path, content=text + images.tobytes(), headers={HEADER: str(len(text))})


def output(response: httpx.Response, name: str) -> NDArray[np.float32]:
    assert response.status_code == 200, response.text
    (entry,) = (one for one in response.json()["outputs"] if one["name"] == name)
    return np.array(entry["data"], np.float32).reshape(entry["shape"])


def test_the_answer_is_that_of_v1(
    client: AppClient,
    png: Callable[[NDArray[np.uint8]], bytes],
    images: NDArray[np.uint8],
) -> None:
    for model in ("tiny-bn", "tiny-bn-unfolded", "tiny-plain"):
        found = output(infer(client, images[:1], f"/v2/models/{model}/infer"), "probabilities")
        predicted = client.post(
            f"/v1/predict?model={model}&top_k=10",
            content=png(images[0]),
            headers={"content-type": "image/png"},
        ).json()["predictions"][0]["top"]
        expected = {label["index"]: label["probability"] for label in predicted}
        assert found[0].tolist() == [float(np.float32(expected[index])) for index in range(10)]


def test_the_logits_are_those_of_the_network(
    client: AppClient, artifacts: Path, images: NDArray[np.uint8]
) -> None:
    golden = load_bundle(artifacts / "tiny-bn-1.0.0").read_golden()
    found = output(infer(client, images), "logits")
    # The golden tolerance that service.inference.startup_checks derives.
    tolerance = 6.2e-5 * np.abs(golden.logits).max()
    assert np.abs(found - golden.logits).max() <= tolerance
    assert np.abs(found - golden.logits[::-1]).max() > 100 * tolerance


def test_a_request_shows_in_the_statistics_and_in_the_metrics(
    client: AppClient, images: NDArray[np.uint8]
) -> None:
    def inferences() -> int:
        (entry,) = client.get("/v2/models/tiny-plain/stats").json()["model_stats"]
        count: int = entry["inference_count"]
        return count

    before = inferences()
    infer(client, images, "/v2/models/tiny-plain/infer")
    assert inferences() - before == len(images)
    metrics = client.get("/metrics").text
    assert 'route="/v2/models/{name}/infer",status="200"' in metrics


def test_errors_are_counted_under_their_route_and_type(client: AppClient) -> None:
    response = client.post(INFER, content=b"{")
    assert response.status_code == 400
    assert "cannot be read" in response.json()["error"]
    metrics = client.get("/metrics").text
    assert 'route="/v2/models/{name}/infer",status="400"' in metrics
    assert 'foldnorm_rejections_total{reason="malformed-request"}' in metrics


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/models/nobody", "/v2x", "/v1/nothing"])
def test_only_v2_has_the_errors_of_the_protocol(client: AppClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert ("error" in response.json()) == path.startswith("/v2/")
    assert ("type" in response.json()) != path.startswith("/v2/")


def test_readiness_asks_the_models(client: AppClient) -> None:
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert client.get("/v2/models/tiny-bn/ready").json()["ready"]


def test_the_repository_unloads_and_loads(artifacts: Path, images: NDArray[np.uint8]) -> None:
    settings = Settings(artifacts=artifacts, threads=1, cuda="off")
    path = "/v2/models/tiny-plain/infer"
    with AppClient(create_app(settings)) as client:
        before = output(infer(client, images, path), "logits")
        assert client.post("/v2/repository/models/tiny-plain/unload").status_code == 200
        assert infer(client, images, path).status_code == 404
        states = {
            entry["name"]: entry["state"] for entry in client.post("/v2/repository/index").json()
        }
        assert states["tiny-plain"] == "UNAVAILABLE"
        assert states["tiny-bn"] == "READY"
        assert client.post("/v2/repository/models/tiny-plain/load").status_code == 200
        assert np.array_equal(output(infer(client, images, path), "logits"), before)


def test_a_remembered_answer_is_the_same_and_says_so(
    artifacts: Path, images: NDArray[np.uint8]
) -> None:
    settings = Settings(artifacts=artifacts, threads=1, cuda="off", cache_answers=100)
    with AppClient(create_app(settings)) as client:
        first, second = infer(client, images), infer(client, images)
        assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
        assert np.array_equal(output(first, "logits"), output(second, "logits"))
        other = infer(client, images, "/v2/models/tiny-plain/infer")
        assert other.headers["x-cache"] == "miss"
        assert not np.array_equal(output(other, "logits"), output(first, "logits"))
