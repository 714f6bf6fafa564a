from __future__ import annotations

from pathlib import Path

from models.bundle import load_bundle
from tests.asgi_client import AppClient


def test_the_list_names_every_variant_and_one_default(client: AppClient) -> None:
    body = client.get("/v1/models").json()
    listed = [(entry["name"], entry["variant"], entry["default"]) for entry in body["models"]]
    assert listed == [
        ("tiny-bn", "folded", True),
        ("tiny-bn-unfolded", "unfolded", False),
        ("tiny-plain", "plain", False),
    ]
    assert body["provider"] == "CPUExecutionProvider"


def test_a_card_says_what_the_manifest_says(client: AppClient, artifacts: Path) -> None:
    manifest = load_bundle(artifacts / "tiny-bn-1.0.0").manifest
    card = client.get("/v1/models/tiny-bn-unfolded").json()
    assert manifest.graphs["unfolded"].sha256 == card["graph"]["sha256"]
    assert manifest.metrics.test.accuracy == card["metrics"]["test"]["accuracy"]
    assert card["fold"]["proof"]["holds"]
    assert card["proof"]["golden_error"] <= card["proof"]["golden_tolerance"]
    assert card["proof"]["neighbour_difference"] <= card["proof"]["neighbour_tolerance"]


def test_an_unknown_model_has_no_card(client: AppClient) -> None:
    for path in ("/v1/models/nope", "/v1/models/nope/history", "/v1/models/tiny-bn@9.9.9"):
        response = client.get(path)
        assert response.status_code == 404
        assert response.json()["type"] == "urn:foldnorm:problem:unknown-model"


def test_the_documentation_is_served(client: AppClient) -> None:
    assert client.get("/docs").status_code == 200
