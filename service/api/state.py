"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from service.api.admission import Admission
from service.images.decoder_pool import Decoder
from service.inference.engine import Engine
from service.inference.providers import Provider
from service.observability.prometheus import ServiceMetrics
from service.registry.catalogue import Catalogue
from service.registry.classify import Classification, Classifier
from service.registry.readiness import Readiness
from service.registry.repository import Coordinator, Repository
from service.registry.shadow import Shadow
from service.settings import Limits, Settings


@dataclass
class ServiceState:
    """The stages of the pipeline, made once per application."""

    settings: Settings
    limits: Limits
    provider: Provider
    repository: Repository
    metrics: ServiceMetrics
    admission: Admission
    readiness: Readiness
    classifier: Classifier = field(repr=False)
    shadow: Shadow = field(repr=False)
    engine: Engine = field(repr=False)
    decoder: Decoder = field(repr=False)
    coordinator: Coordinator | None = field(repr=False)

    @property
    def catalogue(self) -> Catalogue:
        """The models that are served now."""
        return self.repository.catalogue

    def answered(self, result: Classification, *, input_s: float, output_s: float) -> None:
        """Count a request that was answered, and perhaps have the shadow look at it too.

        `input_s` is from the body to pixels, `output_s` from scores to bytes.
        """
        result.model.metrics.succeeded(
            images=len(result.pixels),
            queue_s=result.queue_s,
            input_s=input_s,
            infer_s=result.run_s,
            output_s=output_s,
        )
        self.shadow.offer(result)

    async def close(self) -> None:
        """Finish what was accepted and end the worker threads."""
        self.admission.start_draining()
        await self.shadow.close()
        for model in self.catalogue.models:
            await model.batcher.close()
        self.engine.close()
        self.decoder.close()


def service_state(request: Request) -> ServiceState:
    """Return the state of the application that answers this request."""
    state: ServiceState = request.app.state.service
    return state
