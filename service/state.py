"""What the routes of one application share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.evaluation import EvaluationComparison, compare_evaluations

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.answer_cache import AnswerCache
    from service.catalogue import Catalogue
    from service.decoding import Decoder
    from service.engine import Engine
    from service.lifecycle import Lifecycle
    from service.limits import Limits
    from service.metrics import ServiceMetrics
    from service.providers import Provider
    from service.readiness import Readiness
    from service.repository import Repository
    from service.served_model import Outcome, ServedModel
    from service.settings import Settings
    from service.shadow import Shadow


@dataclass
class ServiceState:
    """The stages of the pipeline, made once per application."""

    settings: Settings
    limits: Limits
    provider: Provider
    repository: Repository
    metrics: ServiceMetrics
    lifecycle: Lifecycle
    readiness: Readiness
    engine: Engine = field(repr=False)
    decoder: Decoder = field(repr=False)
    shadow: Shadow = field(repr=False)
    cache: AnswerCache | None = field(repr=False)
    _evaluated: tuple[Catalogue, EvaluationComparison] | None = field(default=None, repr=False)

    @property
    def catalogue(self) -> Catalogue:
        """The models that are served now."""
        return self.repository.catalogue

    async def decode(self, contents: Sequence[bytes]) -> NDArray[np.uint8]:
        """Return images (N, 32, 32, 3) in the order of their files."""
        return await self.decoder.decode(contents)

    async def score(
        self, model: ServedModel, images: NDArray[np.uint8]
    ) -> tuple[Outcome, bool | None]:
        """Return a model's scores, and whether they were remembered (None without a cache)."""
        if self.cache is None:
            return await model.score(images), None
        return await self.cache.score(model, images)

    async def evaluation(self) -> EvaluationComparison:
        """Return the evaluations side by side; computed once for the models that are served."""
        catalogue = self.catalogue
        if self._evaluated is None or self._evaluated[0] is not catalogue:
            compared = await asyncio.to_thread(compare_evaluations, catalogue.newest_bundles)
            self._evaluated = catalogue, compared
        return self._evaluated[1]

    async def close(self) -> None:
        """Finish what was accepted and end the worker threads."""
        self.lifecycle.start_draining()
        await self.shadow.close()
        for model in self.catalogue.models:
            await model.batcher.close()
        self.engine.close()
        self.decoder.close()


def service_state(request: Request) -> ServiceState:
    """Return the state of the application that answers this request."""
    state: ServiceState = request.app.state.service
    return state
