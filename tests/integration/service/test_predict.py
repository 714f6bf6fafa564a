from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Golden
from tests import synthetic
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

# A float32 softmax of 10 classes: the logits' proven error of at most 6.1e-5 of their largest, 20.
PROBABILITY_TOLERANCE = 2 * 6.1e-5 * 20


@pytest.fixture
def truth(golden: Golden) -> NDArray[np.float64]:
    """The probabilities that the unfolded network has in float64."""
    exponents = np.exp(golden.logits - golden.logits.max(axis=1, keepdims=True))
    answer: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return answer


def post_json(client: AppClient, contents: list[bytes], path: str = "/v1/predict") -> Any:
    encoded = [base64.b64encode(content).decode("ascii") for content in contents]
    return client.post(path, json={"images": encoded})


def probabilities(response: httpx.Response) -> NDArray[np.float64]:
    """The table (N, 10) of an answer with all labels."""
    assert response.status_code == 200, response.text
    rows = []
    for prediction in response.json()["predictions"]:
        by_index = {label["index"]: label["probability"] for label in prediction["top"]}
        rows.append([by_index[index] for index in range(10)])
    return np.array(rows)


def test_an_image_gets_the_probabilities_of_the_network(
    client: AppClient, png: Png, images: NDArray[np.uint8], truth: NDArray[np.float64]
) -> None:
    response = client.post_image("/v1/predict?top_k=10", png(images[0]))
    error = np.abs(probabilities(response) - truth[:1]).max()
    assert error <= PROBABILITY_TOLERANCE


def test_another_image_would_be_noticed(truth: NDArray[np.float64]) -> None:
    assert np.abs(truth[0] - truth[1]).max() > 10 * PROBABILITY_TOLERANCE


def test_many_images_are_answered_in_their_order(
    client: AppClient, png: Png, images: NDArray[np.uint8], truth: NDArray[np.float64]
) -> None:
    response = post_json(client, [png(image) for image in images], "/v1/predict?top_k=10")
    assert np.abs(probabilities(response) - truth).max() <= PROBABILITY_TOLERANCE


def test_multipart_parts_are_images(
    client: AppClient, png: Png, images: NDArray[np.uint8], truth: NDArray[np.float64]
) -> None:
    files = [("images", (f"{n}.png", png(image), "image/png")) for n, image in enumerate(images)]
    response = client.post("/v1/predict?top_k=10", files=files)
    assert np.abs(probabilities(response) - truth).max() <= PROBABILITY_TOLERANCE


def test_requests_at_once_get_their_own_answers(
    client: AppClient, png: Png, images: NDArray[np.uint8], truth: NDArray[np.float64]
) -> None:
    async def all_at_once() -> list[httpx.Response]:
        posts = [
            client.http.post(
                "/v1/predict?top_k=10", content=png(image), headers={"content-type": "image/png"}
            )
            for image in images
        ]
        return await asyncio.gather(*posts)

    responses = client.run(all_at_once())
    answers = np.concatenate([probabilities(response) for response in responses])
    assert np.abs(answers - truth).max() <= PROBABILITY_TOLERANCE


def test_the_answer_has_the_documented_shape(
    client: AppClient, png: Png, images: NDArray[np.uint8]
) -> None:
    path = "/v1/predict?top_k=2&model=tiny-bn-unfolded@1.0.0"
    response = client.post_image(path, png(images[0]), **{"x-request-id": "mine"})
    body = response.json()
    assert body["model"] == {"name": "tiny-bn-unfolded", "version": "1.0.0", "variant": "unfolded"}
    (prediction,) = body["predictions"]
    first, second = prediction["top"]
    assert first == {name: prediction[name] for name in ("index", "label", "probability")}
    assert synthetic.LABELS[first["index"]] == first["label"]
    assert first["probability"] >= second["probability"]
    timing = body["timing_ms"]
    assert {"decode", "queue", "run", "total"} == set(timing)
    assert timing["total"] >= timing["decode"] + timing["queue"] + timing["run"]
    assert "mine" == body["request_id"] == response.headers["x-request-id"]


def test_folded_and_unfolded_say_the_same(
    client: AppClient, png: Png, images: NDArray[np.uint8]
) -> None:
    response = post_json(
        client,
        [png(image) for image in images],
        "/v1/compare?models=tiny-bn,tiny-bn-unfolded&top_k=1",
    )
    for image in response.json()["images"]:
        assert image["agree"]
        # Each is within 6.1e-5 of the truth, relative to logits of at most 20.
        assert image["max_logit_difference"] <= 2 * 6.1e-5 * 20
        assert image["js_divergence"] < 1e-6


def test_two_networks_say_different_things(
    client: AppClient, png: Png, images: NDArray[np.uint8]
) -> None:
    body = post_json(client, [png(image) for image in images], "/v1/compare").json()
    names = ["tiny-bn", "tiny-bn-unfolded", "tiny-plain"]
    assert names == [entry["model"]["name"] for entry in body["models"]]
    assert names == list(body["timing_ms"]["run"])
    assert len(body["images"]) == 8
    assert {8} == {len(entry["predictions"]) for entry in body["models"]}
    assert all(image["max_logit_difference"] > 0.1 for image in body["images"])


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/v1/predict?model=resnet", 404, "unknown-model"),
        ("/v1/predict?top_k=0", 400, "malformed-request"),
        ("/v1/predict?top_k=11", 400, "malformed-request"),
        ("/v1/compare?models=tiny-bn", 400, "malformed-request"),
        ("/v1/compare?models=", 404, "unknown-model"),
    ],
)
def test_a_wrong_query_is_refused_before_the_body_is_read(
    client: AppClient, path: str, status: int, slug: str
) -> None:
    response = client.post_image(path, b"")
    expected = (status, f"urn:foldnorm:problem:{slug}")
    assert expected == (response.status_code, response.json()["type"])
