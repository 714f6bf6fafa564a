"""A proven network behind its queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, Golden
from models.history import EpochRecord
from models.manifest import Variant
from models.tensors import ImageSpec
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.session import Scores, Session
from service.inference.startup_checks import StartupProof
from service.inference.tuning import ModelTuning
from service.observability.prometheus import ModelMetrics


@dataclass(frozen=True)
class Scored:
    """The scores of one request's images, and where its time went."""

    scores: Scores
    queue_s: float
    run_s: float


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One graph of one artifact, ready to answer; equal to itself only.

    `name` is the served name without a version: the artifact's, or `…-unfolded`, `…-int8`.
    """

    name: str
    variant: Variant
    bundle: Bundle
    golden: Golden
    history: list[EpochRecord]
    session: Session
    proof: StartupProof
    tuning: ModelTuning
    batcher: Batcher[NDArray[np.uint8], tuple[Scores, float]]
    metrics: ModelMetrics

    @property
    def version(self) -> str:
        """The artifact's version."""
        return self.bundle.version

    @property
    def full_name(self) -> str:
        """The name that means this version, `cats@1.1.0`."""
        return f"{self.name}@{self.version}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self.bundle.manifest.labels

    @property
    def spec(self) -> ImageSpec:
        """What its images are: size, channels, and how a picture becomes one."""
        return self.bundle.manifest.input

    @property
    def graph_sha256(self) -> str:
        """The hash of the graph that answers: what its answers may be cached under."""
        return self.bundle.manifest.graphs[self.variant].sha256

    def check_room(self, deadline: float = math.inf, images: int = 1) -> None:
        """Refuse a request before its body is read, if its images could not be taken.

        Raises:
            OverloadedError: the queue is full, or the answer would come too late.
        """
        self.batcher.admit(images, _remaining_s(deadline))

    async def score(self, images: NDArray[np.uint8], deadline: float = math.inf) -> Scored:
        """Return the scores of images (N, H, W, C), run with those of other requests.

        `deadline` is on the clock of the event loop.

        Raises:
            OverloadedError: the queue is full, or the answer would come too late.
        """
        started = time.perf_counter()
        within = _remaining_s(deadline)
        scores, run_s = await self.batcher.submit(images, len(images), within=within)
        waited_s = time.perf_counter() - started
        return Scored(scores, max(0.0, waited_s - run_s), run_s)


@dataclass(frozen=True)
class BatchRunner:
    """Runs the images of several requests as one batch."""

    session: Session
    engine: Engine
    metrics: ModelMetrics
    chunk_size: int

    async def __call__(self, items: Sequence[NDArray[np.uint8]]) -> list[tuple[Scores, float]]:
        """Return each item's scores, and the seconds that the whole batch ran."""
        images = items[0] if len(items) == 1 else np.concatenate(items)
        scores, seconds = await self.engine.run(self.session, images, self.chunk_size)
        self.metrics.ran(len(images), seconds)
        return [(own, seconds) for own in scores.split([len(item) for item in items])]


def _remaining_s(deadline: float) -> float:
    return math.inf if deadline == math.inf else deadline - asyncio.get_running_loop().time()
