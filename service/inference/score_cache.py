"""Scores that were computed before, found by what they depend on and nothing less.

    (model, version, SHA-256 of the graph, SHA-256 of the pixels)  ──►  logits, probabilities

The key is of decoded pixels: the same picture in another file format is found too. Images that are
asked for while they are being computed wait for that one computation.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.inference.engine import join
from service.inference.served_model import Scored, ServedModel
from service.inference.session import Scores
from service.observability.prometheus import ServiceMetrics

Key = tuple[str, str, str, bytes]


class ScoreCache:
    """Keeps the scores of the latest `capacity` images; the least recently used go first."""

    def __init__(self, capacity: int, metrics: ServiceMetrics) -> None:
        self._capacity = capacity
        self._metrics = metrics
        self._scores: OrderedDict[Key, Scores] = OrderedDict()
        self._computing: dict[Key, asyncio.Future[None]] = {}

    async def score(
        self, model: ServedModel, images: NDArray[np.uint8], deadline: float = math.inf
    ) -> tuple[Scored, bool]:
        """Return the scores of images (N, H, W, C), and whether all of them were cached.

        Raises:
            Exception: what computing the missing ones raises.
        """
        keys = [_key(model, image) for image in images]
        found: dict[Key, Scores] = {}
        queue_s = run_s = 0.0
        waited = False
        # Another request may fail to compute what this one waits for; then it is our turn.
        while missing := [key for key in dict.fromkeys(keys) if not self._find(key, found)]:
            theirs = [self._computing[key] for key in missing if key in self._computing]
            ours = [key for key in missing if key not in self._computing]
            if ours:
                chosen = images[[keys.index(key) for key in ours]]
                scored = await self._compute(model, ours, chosen, deadline)
                # Kept here too: a request may bring more images than the cache holds.
                found |= zip(ours, scored.scores.split([1] * len(ours)), strict=True)
                queue_s, run_s = queue_s + scored.queue_s, run_s + scored.run_s
            waited = True
            if theirs:
                await asyncio.wait(theirs)
        self._count(model, hit=not waited)
        return Scored(join([found[key] for key in keys]), queue_s, run_s), not waited

    def _find(self, key: Key, found: dict[Key, Scores]) -> bool:
        if key not in found and key in self._scores:
            self._scores.move_to_end(key)
            found[key] = self._scores[key]
        return key in found

    async def _compute(
        self,
        model: ServedModel,
        keys: Sequence[Key],
        images: NDArray[np.uint8],
        deadline: float,
    ) -> Scored:
        loop = asyncio.get_running_loop()
        futures = {key: loop.create_future() for key in keys}
        self._computing |= futures
        try:
            scored = await model.score(images, deadline)
            for key, scores in zip(keys, scored.scores.split([1] * len(keys)), strict=True):
                self._keep(key, scores)
            return scored
        finally:
            for key, future in futures.items():
                del self._computing[key]
                future.set_result(None)

    def _keep(self, key: Key, scores: Scores) -> None:
        self._scores[key] = Scores(scores.logits.copy(), scores.probabilities.copy())
        while len(self._scores) > self._capacity:
            self._scores.popitem(last=False)

    def _count(self, model: ServedModel, *, hit: bool) -> None:
        outcome = "hit" if hit else "miss"
        self._metrics.cache.labels(model.name, model.version, outcome).inc()


def _key(model: ServedModel, image: NDArray[np.uint8]) -> Key:
    pixels = hashlib.sha256(image.tobytes()).digest()
    return model.name, model.version, model.graph_sha256, pixels
