"""The artifacts that ship, in the whole application."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_catalogue
from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient


@pytest.fixture(scope="module")
def released_client(released_artifacts: Path) -> Iterator[AppClient]:
    with AppClient(create_app(Settings(artifacts=released_artifacts, threads=1))) as client:
        yield client


def test_every_released_model_names_the_class_of_its_golden_images(
    released_client: AppClient, released_artifacts: Path, png: Callable[[NDArray[np.uint8]], bytes]
) -> None:
    for bundle in load_catalogue(released_artifacts):
        golden = bundle.read_golden()
        images = [base64.b64encode(png(image)).decode("ascii") for image in golden.images]
        response = released_client.post(
            f"/v1/predict?model={bundle.name}@{bundle.version}&top_k=1", json={"images": images}
        )
        assert response.status_code == 200, response.text
        named = [prediction["index"] for prediction in response.json()["predictions"]]
        assert named == golden.logits.argmax(axis=1).tolist(), bundle.path.name


def test_the_baseline_and_the_bn_model_are_compared(released_client: AppClient) -> None:
    names = [model["name"] for model in released_client.get("/v1/models").json()["models"]]
    assert {"keras-baseline", "keras-bn", "keras-bn-unfolded"} <= set(names)
    assert released_client.get("/v1/compare").status_code == 200
    assert released_client.get("/health/ready").status_code == 200
