"""Models change while requests are answered, and a bad artifact changes nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import BundleError
from service.api.state import ServiceState
from service.app import build_app, build_state
from service.errors import ModelRefusedError
from service.settings import Settings
from tests.asgi_client import AppClient

IMAGES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.fixture
def folder(artifacts: Path, tmp_path: Path) -> Path:
    return shutil.copytree(artifacts, tmp_path / "artifacts")


@pytest.fixture
def state(folder: Path) -> ServiceState:
    return build_state(Settings(artifacts=folder, threads=1))


@pytest.fixture
def client(state: ServiceState) -> Iterator[AppClient]:
    with AppClient(build_app(state)) as client:
        yield client


def release(folder: Path, version: str) -> None:
    """Put a newer version of tiny-bn beside the one that is there."""
    newer = shutil.copytree(folder / "tiny-bn-1.0.0", folder / f"tiny-bn-{version}")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "version": version}))


def test_a_new_version_is_served_once_it_is_loaded(
    folder: Path, state: ServiceState, client: AppClient
) -> None:
    release(folder, "1.0.1")
    assert state.catalogue.find("tiny-bn").version == "1.0.0"
    client.run(state.repository.load("tiny-bn"))
    assert state.catalogue.find("tiny-bn").version == "1.0.1"
    assert state.catalogue.find("tiny-bn@1.0.0").version == "1.0.0"
    assert client.get("/v1/models/tiny-bn").json()["version"] == "1.0.1"


def test_a_damaged_artifact_leaves_the_old_model_and_says_why(
    folder: Path, state: ServiceState, client: AppClient
) -> None:
    before = state.catalogue.find("tiny-bn")
    (folder / "tiny-bn-1.0.0" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model\.onnx has SHA-256"):
        client.run(state.repository.load("tiny-bn"))
    assert state.catalogue.find("tiny-bn") is before
    assert client.run(before.score(IMAGES)).scores.logits.shape == (2, 10)
    answer = client.post("/v2/repository/models/tiny-bn/load")
    assert answer.status_code == 400
    assert "model.onnx has SHA-256" in answer.json()["error"]


def test_what_runs_on_the_old_model_finishes_on_it(
    state: ServiceState, client: AppClient, engine_busy: Any
) -> None:
    async def scenario() -> None:
        old = state.catalogue.find("tiny-bn")
        async with engine_busy(state.engine):
            waiting = asyncio.create_task(old.score(IMAGES))
            await asyncio.sleep(0.01)
            await state.repository.load("tiny-bn")
            assert state.catalogue.find("tiny-bn") is not old
            assert not waiting.done()
        late = await old.score(IMAGES)  # it had found the old model before the swap
        result = await waiting
        assert (result.scores.logits == late.scores.logits).all()

    client.run(scenario())


def test_a_worker_that_cannot_serve_what_the_others_do_does_not_start(folder: Path) -> None:
    served = frozenset({"tiny-bn@1.0.0", "tiny-bn@0.9.0"})
    with pytest.raises(ModelRefusedError, match=r"tiny-bn@0\.9\.0 is served by the other workers"):
        build_state(Settings(artifacts=folder, threads=1), served=served)


def test_what_is_broken_next_to_it_does_not_keep_a_model_from_service(folder: Path) -> None:
    """Half copied, of an unknown schema, of the same name and version: none of it was asked for."""
    (folder / "half-1.0.0").mkdir()
    (folder / "half-1.0.0" / "manifest.json").write_bytes(b'{"schema_version": 1, "na\xff')
    (folder / "tiny-bn-2.0.0").mkdir()
    (folder / "tiny-bn-2.0.0" / "manifest.json").write_text('{"schema_version": 9}')
    shutil.copytree(folder / "tiny-plain-1.0.0", folder / "tiny-plain-copy")
    state = build_state(Settings(artifacts=folder, threads=1), served=frozenset({"tiny-bn@1.0.0"}))
    assert state.repository.served == ["tiny-bn@1.0.0"]
    with pytest.raises(BundleError, match="schema_version 9"):
        asyncio.run(state.repository.load("tiny-bn"))
    assert state.repository.served == ["tiny-bn@1.0.0"]
