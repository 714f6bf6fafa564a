"""A network of another size and other classes is served like those that ship, and next to them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.api.state import ServiceState
from service.app import build_app, build_state
from service.settings import Settings
from tests import synthetic
from tests.asgi_client import AppClient

SHAPE = (16, 24, 3)
LABELS = ("ash", "birch", "cedar", "elm", "fir", "oak", "yew")
PIXELS = synthetic.random_images(5, 2, SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contracts")
    trees = {"image_shape": SHAPE, "labels": LABELS}
    synthetic.write_artifact(folder, "trees", norms=True, seed=3, **trees)
    synthetic.write_artifact(
        folder, "small-trees", norms=False, seed=4, image_shape=(8, 8, 3), labels=LABELS
    )
    synthetic.write_artifact(folder, "tiny-bn", norms=True, seed=2)
    return folder


@pytest.fixture(scope="module")
def state(folder: Path) -> ServiceState:
    return build_state(
        Settings(artifacts=folder, threads=1, default_model="trees", shadow_fraction=1.0)
    )


@pytest.fixture(scope="module")
def client(state: ServiceState) -> Iterator[AppClient]:
    with AppClient(build_app(state)) as client:
        yield client


def png(image: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def predict(client: AppClient, content: bytes, query: str = "") -> httpx.Response:
    return client.post(
        f"/v1/predict{query}", content=content, headers={"content-type": "image/png"}
    )


def expected_logits(image: np.ndarray) -> np.ndarray:
    """The logits that the network has in float64, from its weights alone."""
    network = synthetic.random_network(3, norms=True, image_shape=SHAPE, classes=len(LABELS))
    return network.logits(image[None])[0]


def check(prediction: dict[str, object], image: np.ndarray) -> None:
    best = int(expected_logits(image).argmax())
    assert (prediction["index"], prediction["label"]) == (best, LABELS[best])


def test_an_image_of_its_size_is_classified_among_its_labels(client: AppClient) -> None:
    answer = predict(client, png(PIXELS[0]), "?top_k=7").json()
    (prediction,) = answer["predictions"]
    check(prediction, PIXELS[0])
    assert {one["label"] for one in prediction["top"]} == set(LABELS)


def test_a_larger_image_is_cropped_to_its_proportions_and_turned_upright(
    state: ServiceState, client: AppClient
) -> None:
    stored = synthetic.random_images(7, 1, (300, 90, 3))[0]  # of a camera that was held upright
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by a quarter, clockwise
    upright = Image.fromarray(stored).rotate(-90, expand=True)  # 300 wide, 90 high
    width = 90 / SHAPE[0] * SHAPE[1]
    left = (300 - width) / 2
    part = upright.resize(
        (SHAPE[1], SHAPE[0]), Image.Resampling.LANCZOS, box=(left, 0, left + width, 90)
    )
    model = state.catalogue.default
    (decoded,) = client.run(state.classifier.decode(model, [png(stored, exif=exif)]))
    assert decoded.shape == SHAPE
    # Resampled before it is turned, and by way of a reduced image: a few steps of 256.
    difference = np.abs(decoded.astype(int) - np.asarray(part).astype(int))
    assert difference.mean() < 2
    check(predict(client, png(stored, exif=exif)).json()["predictions"][0], decoded)


def test_more_labels_than_it_has_are_refused(client: AppClient) -> None:
    answer = predict(client, png(PIXELS[0]), "?top_k=8")
    assert answer.status_code == 400
    assert "knows 7 classes" in answer.json()["detail"]


def test_models_of_the_same_labels_are_compared_each_at_its_own_size(client: AppClient) -> None:
    answer = client.post(
        "/v1/compare?models=trees,trees-unfolded,small-trees",
        content=png(PIXELS[0]),
        headers={"content-type": "image/png"},
    ).json()
    trees, unfolded, _ = (one["predictions"][0] for one in answer["models"])
    check(trees, PIXELS[0])
    assert trees["index"] == unfolded["index"]


def test_what_each_model_saw_is_returned_if_asked_for(client: AppClient) -> None:
    asked = "/v1/compare?models=trees,small-trees&pixels="
    headers = {"content-type": "image/png"}
    answer = client.post(f"{asked}true", content=png(PIXELS[0]), headers=headers).json()
    for one in answer["models"]:
        (seen,) = one["pixels"]
        spec = client.get(f"/v1/models/{one['model']['name']}").json()["input"]
        shape = (seen["height"], seen["width"], seen["channels"])
        assert list(shape) == spec["shape"][1:]
        found = np.frombuffer(base64.b64decode(seen["data"]), np.uint8).reshape(shape)
        if shape == PIXELS[0].shape:
            assert np.array_equal(found, PIXELS[0])
    answer = client.post(f"{asked}false", content=png(PIXELS[0]), headers=headers).json()
    assert [one["pixels"] for one in answer["models"]] == [None, None]


def test_models_of_other_labels_stand_side_by_side_and_nothing_is_said_of_both(
    client: AppClient,
) -> None:
    answer = client.post(
        "/v1/compare?models=trees,tiny-bn",
        content=png(PIXELS[0]),
        headers={"content-type": "image/png"},
    ).json()
    trees, _ = (one["predictions"][0] for one in answer["models"])
    check(trees, PIXELS[0])
    nothing = {"agree": None, "js_divergence": None, "max_logit_difference": None}
    assert answer["images"] == [nothing]


def test_without_names_those_of_the_default_s_labels_are_compared(client: AppClient) -> None:
    answer = client.post(
        "/v1/compare", content=png(PIXELS[0]), headers={"content-type": "image/png"}
    ).json()
    labels = {
        model["name"]: client.get(f"/v1/models/{model['name']}").json()["labels"]
        for model in client.get("/v1/models").json()["models"]
    }
    default = next(m["name"] for m in client.get("/v1/models").json()["models"] if m["default"])
    asked = {one["model"]["name"] for one in answer["models"]}
    assert asked == {name for name, known in labels.items() if known == labels[default]}
    assert asked < set(labels)


def test_the_second_protocol_states_and_takes_its_shape(client: AppClient) -> None:
    metadata = client.get("/v2/models/trees").json()
    assert metadata["inputs"][0]["shape"] == [-1, *SHAPE]
    assert [one["shape"] for one in metadata["outputs"]] == [[-1, 7], [-1, 7]]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, *SHAPE]}
    body = {"inputs": [{**tensor, "data": PIXELS.tolist()}]}
    answer = client.post("/v2/models/trees/infer", json=body).json()
    logits = np.reshape(answer["outputs"][0]["data"], (2, 7))
    for image, row in zip(PIXELS, logits, strict=True):
        # Float32 against float64, at the golden tolerance of the start-up checks.
        assert np.abs(row - expected_logits(image)).max() <= 6.1e-5 * np.abs(logits).max()
    file = base64.b64encode(png(PIXELS[0])).decode()
    files = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "data": [file],
        "parameters": {"content_type": "base64"},
    }
    again = client.post("/v2/models/trees/infer", json={"inputs": [files]}).json()
    assert np.argmax(again["outputs"][0]["data"]) == logits[0].argmax()


def test_an_image_of_another_size_is_refused_by_name(client: AppClient) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    answer = client.post("/v2/models/trees/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400
    assert "send UINT8 [N, 16, 24, 3]" in answer.json()["error"]


def test_the_ones_that_ship_are_served_next_to_it(client: AppClient) -> None:
    image = synthetic.random_images(2, 1)[0]
    (prediction,) = predict(client, png(image), "?model=tiny-bn").json()["predictions"]
    assert prediction["label"] in synthetic.LABELS


def test_only_a_model_of_the_same_contract_is_its_shadow(client: AppClient) -> None:
    assert client.get("/v1/shadow").json()["shadow"] == "trees-unfolded"
