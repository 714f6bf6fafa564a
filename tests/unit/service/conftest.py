"""A fake network for the service's unit tests: no onnxruntime, no file."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.bundle import load_bundle
from service.batcher import Batcher
from service.proofs import StartupProof
from service.served_model import BatchRunner, ServedModel
from service.session import Scores

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

PROOF = StartupProof(8, 10.0, 0.0, 0.0, 0.0, 0.0)


class ImmediateExecutor:
    """Runs everything at once, in the caller's thread."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


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
def executor() -> ImmediateExecutor:
    return ImmediateExecutor()


@pytest.fixture
def make_model(artifacts: Path, executor: Executor) -> Callable[..., ServedModel]:
    """Makes a served model around the fake network, named as told."""

    def make(name: str = "tiny-bn", variant: str = "folded", version: str = "1.0.0") -> ServedModel:
        bundle = load_bundle(artifacts / "tiny-bn-1.0.0")
        object.__setattr__(bundle.manifest, "version", version)
        session = MeanSession()
        runner = BatchRunner(session, executor, lambda _images, _seconds: None)
        return ServedModel(
            name=name,
            variant=variant,
            bundle=bundle,
            golden=bundle.read_golden(),
            history=[],
            session=session,
            proof=PROOF,
            batcher=Batcher(runner, capacity=64, max_batch=64),
        )

    return make
