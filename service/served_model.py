"""A proven network behind its queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from models.bundle import Bundle, Golden
    from models.history import EpochRecord
    from models.manifest import Variant
    from service.proofs import StartupProof
    from service.session import Scores, Session


@dataclass(frozen=True)
class Outcome:
    """The scores of one request's images, and where its time went."""

    scores: Scores
    queue_ms: float
    run_ms: float


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One graph of one artefact, ready to answer; equal to itself only.

    `name` is the served name without a version: the artefact's, or `…-unfolded`.
    """

    name: str
    variant: Variant
    bundle: Bundle
    golden: Golden
    history: list[EpochRecord]
    session: Session
    proof: StartupProof
    batcher: Batcher[NDArray[np.uint8], tuple[Scores, float]]

    @property
    def version(self) -> str:
        """The artefact's version."""
        return self.bundle.version

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self.bundle.manifest.labels

    async def score(self, images: NDArray[np.uint8], *, alone: bool = False) -> Outcome:
        """Return the scores of images (N, 32, 32, 3), run with those of other requests.

        With `alone` they run as a batch of their own, so that the time is theirs only.
        """
        started = time.perf_counter()
        scores, run_ms = await self.batcher.submit(images, len(images), alone=alone)
        waited_ms = (time.perf_counter() - started) * 1000
        return Outcome(scores, queue_ms=max(0.0, waited_ms - run_ms), run_ms=run_ms)


@dataclass(frozen=True)
class BatchRunner:
    """Runs a batch of requests in a worker thread, so that the event loop stays free."""

    session: Session
    executor: Executor
    observe: Callable[[int, float], None]  # images and seconds of each batch

    async def __call__(self, items: Sequence[NDArray[np.uint8]]) -> list[tuple[Scores, float]]:
        """Return each item's scores, and the milliseconds that the whole batch ran."""
        images = items[0] if len(items) == 1 else np.concatenate(items)
        loop = asyncio.get_running_loop()
        scores, seconds = await loop.run_in_executor(self.executor, self._run, images)
        self.observe(len(images), seconds)
        return [(part, seconds * 1000) for part in scores.split([len(item) for item in items])]

    def _run(self, images: NDArray[np.uint8]) -> tuple[Scores, float]:
        started = time.perf_counter()
        scores = self.session.run(images)
        return scores, time.perf_counter() - started
