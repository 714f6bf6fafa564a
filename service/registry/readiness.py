"""Ready means: every model has just answered a golden image right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from service.errors import ModelRefusedError
from service.inference.engine import Engine
from service.inference.served_model import ServedModel
from service.inference.startup_checks import check_golden

FRESH_SECONDS = 1.0  # probes that come faster than that share one answer


class Readiness:
    """Asks the models at most once in `FRESH_SECONDS`, however many probes come."""

    def __init__(
        self,
        models: Callable[[], Sequence[ServedModel]],
        engine: Engine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._engine = engine
        self._clock = clock
        self._lock = asyncio.Lock()
        self._proven_at: float | None = None

    async def check(self) -> None:
        """Return if every model answers right.

        Raises:
            ModelRefusedError: one does not.
        """
        async with self._lock:
            now = self._clock()
            if self._proven_at is not None and now - self._proven_at < FRESH_SECONDS:
                return
            for model in self._models():
                await self._engine.call(partial(_check, model))
            self._proven_at = now


def _check(model: ServedModel) -> None:
    try:
        check_golden(model.session, model.golden.first(1))
    except ModelRefusedError as exc:
        raise ModelRefusedError(f"{model.name} {model.version} is not ready: {exc}") from exc
