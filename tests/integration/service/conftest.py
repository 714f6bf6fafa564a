"""The whole application around real onnxruntime, without a socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Golden, load_bundle
from service.api.state import ServiceState
from service.app import build_app, build_state, create_app
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.served_model import BatchRunner
from service.inference.session import Scores
from service.registry.catalogue import Catalogue
from service.settings import Settings
from tests.asgi_client import AppClient


@pytest.fixture(scope="module")
def client(artifacts: Path) -> Iterator[AppClient]:
    with AppClient(create_app(Settings(artifacts=artifacts, threads=1))) as client:
        yield client


@pytest.fixture(scope="session")
def golden(artifacts: Path) -> Golden:
    """Images, and the logits that tiny-bn has of them in float64."""
    return load_bundle(artifacts / "tiny-bn-1.0.0").read_golden()


@pytest.fixture(scope="session")
def images(golden: Golden) -> NDArray[np.uint8]:
    return golden.images


@pytest.fixture
def running(artifacts: Path) -> Callable[..., Any]:
    """Runs an application with some settings; gives its state and a client."""

    @contextmanager
    def run(**settings: Any) -> Iterator[tuple[ServiceState, AppClient]]:
        state = build_state(Settings(artifacts=artifacts, threads=1, **settings))
        with AppClient(build_app(state)) as client:
            yield state, client

    return run


@pytest.fixture
def answers_with() -> Callable[..., None]:
    """Serves a model, from now on, whose network gives or raises what a function does."""

    def change(state: ServiceState, name: str, run: Callable[[NDArray[np.uint8]], Scores]) -> None:
        model = state.catalogue.find(name)
        session = SimpleNamespace(run=run)
        runner = BatchRunner(session, state.engine, model.metrics, chunk_size=64)
        batcher = Batcher(runner, capacity=64, max_batch_size=64)
        other = replace(model, session=session, batcher=batcher)
        models = [other if one is model else one for one in state.catalogue.models]
        state.repository.adopt(Catalogue(models))

    return change


@pytest.fixture
def engine_busy() -> Callable[[Engine], Any]:
    """Keeps an engine busy: whoever asks a model meanwhile waits."""

    @asynccontextmanager
    async def busy(engine: Engine) -> AsyncIterator[None]:
        done = threading.Event()
        holding = asyncio.create_task(engine.call(done.wait))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            done.set()
            await holding

    return busy
