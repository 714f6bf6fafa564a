"""A fake network for the service's unit tests, and an event loop for those that are coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_bundle
from service.images.decoder_pool import Decoder
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.served_model import BatchRunner, ServedModel
from service.inference.session import Scores
from service.inference.startup_checks import StartupProof
from service.inference.tuning import ModelTuning
from service.observability.prometheus import ServiceMetrics
from service.registry.classify import Classifier
from service.settings import Limits

SECONDS = 10  # for one test: what nobody wakes up is a failure too

TUNING = ModelTuning((), call_ms=0.0, image_ms=0.1, chunk_size=64, max_batch_size=64)
PROOF = StartupProof(8, 10.0, 0.0, 0.0, 0.0, 0.0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine on an event loop of its own, in bounded time."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await test(**{name: pyfuncitem.funcargs[name] for name in signature})

    signature = inspect.signature(test).parameters
    asyncio.run(bounded())
    return True


class MeanSession:
    """Gives an image's mean as the logit of every class, so that each answer is recognizable."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> Scores:
        self.batches.append(len(images))
        means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
        logits = np.repeat(means[:, None], 10, axis=1)
        return Scores(logits, np.full_like(logits, 0.1))


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(threads=1)
    yield engine
    engine.close()


@pytest.fixture
def classifier(engine: Engine) -> Iterator[Classifier]:
    """Asks any model; nothing is cached."""
    decoder = Decoder(Limits(), threads=1)
    yield Classifier(decoder, engine)
    decoder.close()


@pytest.fixture
def make_model(artifacts: Path, engine: Engine) -> Callable[..., ServedModel]:
    """Makes a served model around the fake network."""

    def make(name: str = "tiny-bn", variant: str = "folded", version: str = "1.0.0") -> ServedModel:
        bundle = load_bundle(artifacts / "tiny-bn-1.0.0")
        object.__setattr__(bundle.manifest, "version", version)
        session = MeanSession()
        metrics = ServiceMetrics().of_model(name, version)
        runner = BatchRunner(session, engine, metrics, chunk_size=64)
        return ServedModel(
            name=name,
            variant=variant,
            bundle=bundle,
            golden=bundle.read_golden(),
            history=[],
            session=session,
            proof=PROOF,
            tuning=TUNING,
            batcher=Batcher(runner, capacity=64, max_batch_size=64),
            metrics=metrics,
        )

    return make
