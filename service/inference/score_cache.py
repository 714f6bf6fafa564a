"""Scores that were computed before, found by what they depend on and nothing less.

    (model, version, SHA-256 of the graph, SHA-256 of the pixels)  ──►  logits, probabilities

The key is of decoded pixels: the same picture in another file format is found too. Images that are
asked for while they are being computed wait for that one computation.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.engine import join
from service.inference.served_model import Outcome, ServedModel
from service.inference.session import Scores
from service.observability.prometheus import ServiceMetrics

Key = tuple[str, str, str, bytes]


class AnswerCache:
    """Remembers the scores of the latest `capacity` images, the least recently used go first."""

    def __init__(self, capacity: int, metrics: ServiceMetrics) -> None:
        self._capacity = capacity
        self._metrics = metrics
        self._scores: OrderedDict[Key, Scores] = OrderedDict()
        self._computing: dict[Key, asyncio.Future[None]] = {}

    async def score(self, model: ServedModel, images: NDArray[np.uint8]) -> tuple[Outcome, bool]:
        """Return the scores of images (N, 32, 32, 3), and whether all of them were known.

        Raises:
            Exception: what computing the missing ones raises.
        """
        keys = [_key(model, image) for image in images]
        found: dict[Key, Scores] = {}
        queue_ms = run_ms = 0.0
        waited = False
        # Another request may fail to compute what this one waits for; then it is our turn.
        while missing := [key for key in dict.fromkeys(keys) if not self._find(key, found)]:
            theirs = [self._computing[key] for key in missing if key in self._computing]
            ours = [key for key in missing if key not in self._computing]
            if ours:
                chosen = images[[keys.index(key) for key in ours]]
                outcome = await self._compute(model, ours, chosen)
                # Kept here too: a request may bring more images than are remembered.
                found |= zip(ours, outcome.scores.split([1] * len(ours)), strict=True)
                queue_ms, run_ms = queue_ms + outcome.queue_ms, run_ms + outcome.run_ms
            waited = True
            if theirs:
                await asyncio.wait(theirs)
        self._count(model, hit=not waited)
        return Outcome(join([found[key] for key in keys]), queue_ms, run_ms), not waited

    def _find(self, key: Key, found: dict[Key, Scores]) -> bool:
        if key not in found and key in self._scores:
            self._scores.move_to_end(key)
            found[key] = self._scores[key]
        return key in found

    async def _compute(
        self, model: ServedModel, keys: Sequence[Key], images: NDArray[np.uint8]
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        futures = {key: loop.create_future() for key in keys}
        self._computing |= futures
        try:
            outcome = await model.score(images)
            for key, scores in zip(keys, outcome.scores.split([1] * len(keys)), strict=True):
                self._remember(key, scores)
            return outcome
        finally:
            for key, future in futures.items():
                del self._computing[key]
                future.set_result(None)

    def _remember(self, key: Key, scores: Scores) -> None:
        self._scores[key] = Scores(scores.logits.copy(), scores.probabilities.copy())
        while len(self._scores) > self._capacity:
            self._scores.popitem(last=False)

    def _count(self, model: ServedModel, *, hit: bool) -> None:
        outcome = "hit" if hit else "miss"
        self._metrics.cache.labels(model.name, model.version, outcome).inc()


def _key(model: ServedModel, image: NDArray[np.uint8]) -> Key:
    pixels = hashlib.sha256(image.tobytes()).digest()
    return model.name, model.version, model.graph_sha256, pixels
