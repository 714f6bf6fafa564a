"""The ASGI application: `uvicorn service.app:create_app --factory`, or `foldnorm-serve`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from models.preferences import read_preferences
from service.api import probes
from service.api.admission import Admission
from service.api.middleware.access_log import AccessMiddleware
from service.api.middleware.etag import ETagMiddleware
from service.api.middleware.fast_route import FastDispatch, FastRoute
from service.api.middleware.request_id import RequestIdMiddleware
from service.api.page.routes import router as page_router
from service.api.problems import install_problem_handlers
from service.api.state import ServiceState
from service.api.v1 import ROUTERS
from service.api.v1.evaluation import Evaluations
from service.api.v2.application import build_v2
from service.images.decoder_pool import Decoder
from service.inference.engine import Engine
from service.inference.providers import choose_provider
from service.inference.score_cache import ScoreCache
from service.observability.logs import configure_logging
from service.observability.prometheus import ServiceMetrics
from service.registry.classify import Classifier
from service.registry.loading import Loader
from service.registry.readiness import Readiness
from service.registry.repository import Coordinator, Repository
from service.registry.shadow import Shadow
from service.settings import Settings, load_settings

logger = logging.getLogger("foldnorm")

SAMPLE_SECONDS = 1.0  # Prometheus asks every 15 s as a rule

DESCRIPTION = """Classifies images, and compares networks with and without batch norm. Batch norm is
folded into the weights; `-unfolded` models show that nothing changed.
"""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the application with every model loaded and proven.

    Without settings they come from the environment, and logging is set up as they say.

    Raises:
        SettingsError: the environment sets something unknown or impossible.
        BundleError: an artifact is missing or damaged.
        ModelRefusedError: a model fails its start-up proof.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(settings.log_level)
    return build_app(build_state(settings))


def build_state(
    settings: Settings,
    *,
    served: frozenset[str] = frozenset(),
    coordinator: Coordinator | None = None,
) -> ServiceState:
    """Load the models and make the stages around them.

    `served` names the models to serve as name@version, empty for all on disk; the coordinator
    speaks for the other workers, where there are any.
    """
    provider = choose_provider(settings.cuda)
    metrics = ServiceMetrics()
    admission = Admission(settings.max_requests, settings.max_held_bytes)
    metrics.watch_work(admission)
    engine = Engine(settings.threads)
    decoder = Decoder(settings.limits, settings.threads)
    cache = ScoreCache(settings.cache_answers, metrics) if settings.cache_answers else None
    classifier = Classifier(decoder, engine, cache)
    loader = Loader(settings, provider, engine, metrics)
    preferences = read_preferences(settings.artifacts)
    repository = Repository(
        loader,
        metrics,
        settings.default_model,
        preferences.default_model,
        served=served,
        coordinator=coordinator,
    )
    state = ServiceState(
        settings=settings,
        limits=settings.limits,
        provider=provider,
        repository=repository,
        metrics=metrics,
        admission=admission,
        readiness=Readiness(lambda: repository.catalogue.models, engine),
        classifier=classifier,
        shadow=Shadow(
            settings.shadow_fraction,
            settings.shadow_model,
            preferences.shadow_model,
            lambda: repository.catalogue,
            classifier,
            metrics,
        ),
        engine=engine,
        decoder=decoder,
        coordinator=coordinator,
    )
    _log_start(state)
    return state


def _log_start(state: ServiceState) -> None:
    models = state.catalogue.models
    fields = {
        "provider": state.provider.name,
        "provider_reason": state.provider.reason,
        "threads": state.settings.threads,
        "models": [model.full_name for model in models],
        "default": state.catalogue.default.name,
        "part_images": {model.name: model.tuning.chunk_size for model in models},
    }
    logger.info("models are loaded and proven", extra={"fields": fields})


def build_app(state: ServiceState) -> ASGIApp:
    """Return the application around its state.

    The middleware wraps the finished application, so that a 500 has its request id and its log
    line too.
    """
    api = build_api(state)
    fast = [route for router in ROUTERS for route in router.routes if isinstance(route, FastRoute)]
    dispatch = ProtocolSplit(ETagMiddleware(FastDispatch(api, fast)), build_v2(state))
    watched = AccessMiddleware(dispatch, state.metrics, state.admission, state.settings.access_log)
    return RequestIdMiddleware(watched)


class ProtocolSplit:
    """Sends `/v2` to the Open Inference Protocol, whose errors have a shape of their own."""

    def __init__(self, app: ASGIApp, v2: ASGIApp) -> None:
        self._app = app
        self._v2 = v2

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request through one of the two."""
        path = scope.get("path", "")
        is_v2 = scope["type"] == "http" and (path == "/v2" or path.startswith("/v2/"))
        await (self._v2 if is_v2 else self._app)(scope, receive, send)


def build_api(state: ServiceState) -> FastAPI:
    """Return the routes alone."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        sampling = asyncio.create_task(_sample_gauges(state))
        if state.coordinator is not None:
            await state.coordinator.start(state.repository)
        yield
        sampling.cancel()
        await state.close()

    api = FastAPI(
        title="Foldnorm",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # the page's, with its own assets
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.service = state
    api.state.evaluations = Evaluations()
    install_problem_handlers(api)
    for router in (*ROUTERS, probes.router, page_router):
        api.include_router(router)
    return api


async def _sample_gauges(state: ServiceState) -> None:
    """Keep this worker's gauges fresh for whichever worker is scraped."""
    while True:
        state.metrics.sample()
        await asyncio.sleep(SAMPLE_SECONDS)
