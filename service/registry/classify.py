"""The one way to ask a model: pictures in, scores and timings out.

    files ─► decode ─┐
    pixels ──────────┴─► seen before? ─► batch with other requests ─► Classification
                                      or alone, for timings that compare

What asks (`/v1/predict`, `/v1/compare`, `/v2/…/infer`, the shadow) only dresses the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.images.decoder_pool import Decoder
from service.inference.engine import Engine
from service.inference.score_cache import ScoreCache
from service.inference.served_model import ServedModel
from service.inference.session import Scores

Pictures = Sequence[bytes] | NDArray[np.uint8]  # image files, or pixels (N, H, W, C)


@dataclass(frozen=True)
class Classification:
    """What a model says of the pictures of one request, and where the time went.

    `pixels` (N, H, W, C) are what the model saw. `cache_hit` is None where nothing is cached.
    """

    model: ServedModel
    pixels: NDArray[np.uint8]
    scores: Scores
    decode_s: float  # its wait for a thread included
    queue_s: float
    run_s: float
    cache_hit: bool | None = None


class Classifier:
    """Decodes, looks up and runs, whoever asks.

    Args:
        decoder: makes pixels of image files.
        engine: runs a model alone.
        cache: the scores of pixels that were seen before; None to compute every answer.
    """

    def __init__(self, decoder: Decoder, engine: Engine, cache: ScoreCache | None = None) -> None:
        self._decoder = decoder
        self._engine = engine
        self._cache = cache

    async def classify(
        self,
        model: ServedModel,
        pictures: Pictures,
        deadline: float = math.inf,
        *,
        alone: bool = False,
    ) -> Classification:
        """Return what the model says of the pictures.

        `deadline` is when, on the clock of the event loop, the answer must be there. `alone` runs
        them in one call of their own, in one thread, and asks no cache.

        Raises:
            UndecodableImageError, TooManyPixelsError: a file is none that is decoded.
            OverloadedError: the queue is full, or the answer would come too late.
            DrainingError: the process is about to stop.
        """
        started = time.perf_counter()
        pixels = await self.decode(model, pictures)
        decode_s = time.perf_counter() - started
        if alone:
            scores, run_s = await self._engine.run_whole(model.session, pixels)
            return Classification(model, pixels, scores, decode_s, 0.0, run_s)
        if self._cache is None:
            scored, hit = await model.score(pixels, deadline), None
        else:
            scored, hit = await self._cache.score(model, pixels, deadline)
        return Classification(
            model, pixels, scored.scores, decode_s, scored.queue_s, scored.run_s, hit
        )

    async def decode(self, model: ServedModel, pictures: Pictures) -> NDArray[np.uint8]:
        """Return pixels (N, H, W, C) as the model takes them; pixels come through untouched."""
        if isinstance(pictures, np.ndarray):
            return pictures
        return await self._decoder.decode(pictures, model.spec)
