"""The artifacts that ship, in the whole application."""

from __future__ import annotations

from pathlib import Path

from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient


def test_what_ships_starts_is_ready_and_is_compared(released_artifacts: Path) -> None:
    with AppClient(create_app(Settings(artifacts=released_artifacts, threads=1))) as client:
        names = [model["name"] for model in client.get("/v1/models").json()["models"]]
        assert {"keras-baseline", "keras-bn", "keras-bn-unfolded"} <= set(names)
        assert client.get("/v1/compare").status_code == 200
        assert client.get("/health/ready").status_code == 200
