"""A proven network behind its queue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, Golden
from models.history import EpochRecord
from models.manifest import Variant
from service.api.cancellation import remaining_s
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.inference.session import Scores, Session
from service.inference.startup_checks import StartupProof
from service.inference.tuning import ModelTuning
from service.observability.prometheus import ModelMeter


@dataclass(frozen=True)
class Outcome:
    """The scores of one request's images, and where its time went."""

    scores: Scores
    queue_ms: float
    run_ms: float


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One graph of one artefact, ready to answer; equal to itself only.

    `name` is the served name without a version: the artefact's, or `…-unfolded`, `…-int8`.
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
    meter: ModelMeter

    @property
    def version(self) -> str:
        """The artefact's version."""
        return self.bundle.version

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by index."""
        return self.bundle.manifest.labels

    @property
    def graph_sha256(self) -> str:
        """The hash of the graph that answers: what its answers may be remembered under."""
        return self.bundle.manifest.graphs[self.variant].sha256

    def check_room(self, images: int = 1) -> None:
        """Refuse a request before its body is read, if its images could not be taken.

        Raises:
            OverloadedError: the queue is full, or the answer would come too late.
        """
        self.batcher.admit(images, remaining_s())

    async def score(self, images: NDArray[np.uint8]) -> Outcome:
        """Return the scores of images (N, 32, 32, 3), run with those of other requests.

        Raises:
            OverloadedError: the queue is full, or the answer would come too late.
        """
        started = time.perf_counter()
        scores, run_s = await self.batcher.submit(images, len(images), within=remaining_s())
        waited_s = time.perf_counter() - started
        return Outcome(scores, max(0.0, waited_s - run_s) * 1000, run_s * 1000)


@dataclass(frozen=True)
class BatchRunner:
    """Runs the images of several requests as one batch."""

    session: Session
    engine: Engine
    meter: ModelMeter
    part_images: int

    async def __call__(self, items: Sequence[NDArray[np.uint8]]) -> list[tuple[Scores, float]]:
        """Return each item's scores, and the seconds that the whole batch ran."""
        images = items[0] if len(items) == 1 else np.concatenate(items)
        scores, seconds = await self.engine.run(self.session, images, self.part_images)
        self.meter.ran(len(images), seconds)
        return [(part, seconds) for part in scores.split([len(item) for item in items])]
