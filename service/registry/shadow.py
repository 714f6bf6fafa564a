"""A second model classifies a share of the traffic too, and what it sees differently is counted.

Off the hot path: the answer has gone out before the shadow begins. It is the first thing to be
dropped under load: it runs only while nothing waits for any model, one request at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from service.errors import ServiceError
from service.inference.served_model import ServedModel
from service.observability.prometheus import ServiceMetrics
from service.registry.catalogue import Catalogue
from service.registry.classify import Classification, Classifier

logger = logging.getLogger("foldnorm")

KEPT = 32


@dataclass(frozen=True)
class Opinion:
    """What one model says of an image."""

    model: str
    label: str
    probability: float


@dataclass(frozen=True)
class Disagreement:
    """An image (H, W, C) that the two models put into different classes."""

    time: float  # seconds since the epoch
    image: NDArray[np.uint8]
    primary: Opinion
    shadow: Opinion


class Shadow:
    """Compares a sample of the default model's answers with another model's.

    Args:
        fraction: share of the requests that are sampled, 0 to 1.
        name: the model that shadows, None to choose one.
        preferred: what the folder of artifacts prefers then, if it is served.
        catalogue: gives the models that are served now.
        classifier: asks the shadowing model.
        metrics: where agreement and disagreement are counted.
        random: decides which requests are sampled.
    """

    def __init__(
        self,
        fraction: float,
        name: str | None,
        preferred: str | None,
        catalogue: Callable[[], Catalogue],
        classifier: Classifier,
        metrics: ServiceMetrics,
        random: Random | None = None,
    ) -> None:
        self.fraction = fraction
        self.recent: deque[Disagreement] = deque(maxlen=KEPT)
        self._name = name
        self._preferred = preferred
        self._catalogue = catalogue
        self._classifier = classifier
        self._metrics = metrics
        self._random = random or Random()  # noqa: S311 - samples, keeps no secret
        self._task: asyncio.Task[None] | None = None

    def model(self) -> ServedModel | None:
        """Return the model that shadows; None where no other takes the same images and labels."""
        catalogue = self._catalogue()
        primary = catalogue.default
        others = [
            model
            for model in catalogue.newest
            if model is not primary and (model.spec, model.labels) == (primary.spec, primary.labels)
        ]
        if self._name is not None:
            return next((model for model in others if model.name == self._name), None)
        preferred = (model for model in others if model.name == self._preferred)
        return next(preferred, next(iter(others), None))

    def offer(self, result: Classification) -> None:
        """Perhaps compare an answer of the default model that has just been given."""
        if not self.fraction or self._random.random() >= self.fraction:
            return
        shadow = self.model()
        if shadow is None or result.model is not self._catalogue().default:
            return
        if self._is_busy():
            self._count(result, shadow, "dropped")
            return
        self._task = asyncio.create_task(self._compare(result, shadow))

    async def close(self) -> None:
        """Finish the comparison under way."""
        if self._task is not None:
            await self._task

    def _is_busy(self) -> bool:
        running = self._task is not None and not self._task.done()
        return running or any(model.batcher.waiting for model in self._catalogue().models)

    async def _compare(self, result: Classification, shadow: ServedModel) -> None:
        try:
            other = await self._classifier.classify(shadow, result.pixels)
        except ServiceError:
            self._count(result, shadow, "dropped")
            return
        except Exception:  # raised, it would end the shutdown that waits for this comparison
            self._count(result, shadow, "failed")
            logger.exception("the shadow failed", extra={"fields": {"model": shadow.name}})
            return
        self._count(result, shadow, "compared")
        for index, image in enumerate(result.pixels):
            first, second = _opinion(result, index), _opinion(other, index)
            if first.label != second.label:
                self._metrics.disagreements.labels(
                    result.model.name, shadow.name, first.label, second.label
                ).inc()
                self.recent.append(Disagreement(time.time(), image.copy(), first, second))

    def _count(self, result: Classification, shadow: ServedModel, outcome: str) -> None:
        counter = self._metrics.shadow.labels(result.model.name, shadow.name, outcome)
        counter.inc(len(result.pixels))


def _opinion(result: Classification, index: int) -> Opinion:
    model, scores = result.model, result.scores
    best = int(scores.logits[index].argmax())
    return Opinion(model.name, model.labels[best], float(scores.probabilities[index, best]))
