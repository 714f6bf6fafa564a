"""The whole application around real onnxruntime, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from tests.asgi_client import AppClient


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    with AppClient(create_app(Settings(artifacts=artifacts, threads=1))) as client:
        yield client
