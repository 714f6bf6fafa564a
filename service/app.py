"""The ASGI application: `uvicorn service.app:create_app --factory`, or `foldnorm-serve`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.access import AccessMiddleware
from service.answer_cache import AnswerCache
from service.decoding import Decoder
from service.engine import Engine
from service.etag import ETagMiddleware
from service.hot_route import HotDispatch, HotRoute
from service.lifecycle import Lifecycle
from service.loading import Loader
from service.logs import configure_logging
from service.metrics import ServiceMetrics
from service.problems import install_problem_handlers
from service.providers import choose_provider
from service.readiness import Readiness
from service.repository import Repository
from service.request_id import RequestIdMiddleware
from service.rollout import Order
from service.routes import ROUTERS
from service.settings import load_settings
from service.shadow import Shadow
from service.state import ServiceState
from service.v2.application import build_v2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.control import Coordinator
    from service.settings import Settings

logger = logging.getLogger("foldnorm")

EVERYTHING = Order(frozenset())
SAMPLE_SECONDS = 1.0  # Prometheus asks every 15 s as a rule

DESCRIPTION = """Classifies CIFAR-10 images with a network and its batch-normalized twin, and
compares them. Batch norm is folded into the weights; `-unfolded` models show that nothing changed.
"""


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the application with every model loaded and proven.

    Without settings they come from the environment, and logging is set up as they say.

    Raises:
        SettingsError: the environment sets something unknown or impossible.
        BundleError: an artefact is missing or damaged.
        ModelRefusedError: a model fails its start-up proof.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(settings.log_level)
    return build_app(build_state(settings))


def build_state(
    settings: Settings,
    *,
    order: Order = EVERYTHING,
    coordinator: Coordinator | None = None,
) -> ServiceState:
    """Load the models and make the stages around them.

    `order` names the models to serve as name@version, empty for all on disk; the coordinator
    speaks for the other workers, where there are any.
    """
    provider = choose_provider(settings.cuda)
    metrics = ServiceMetrics()
    lifecycle = Lifecycle(settings.max_requests, settings.max_held_bytes)
    metrics.watch_work(lifecycle)
    engine = Engine(settings.threads)
    loader = Loader(settings, provider, engine, metrics)
    repository = Repository(loader, metrics, settings.default_model, order, coordinator)
    shadow = Shadow(
        settings.shadow_fraction, settings.shadow_model, lambda: repository.catalogue, metrics
    )
    state = ServiceState(
        settings=settings,
        limits=settings.limits,
        provider=provider,
        repository=repository,
        metrics=metrics,
        lifecycle=lifecycle,
        readiness=Readiness(lambda: repository.catalogue.models, engine),
        engine=engine,
        decoder=Decoder(settings.limits, settings.threads),
        shadow=shadow,
        coordinator=coordinator,
        cache=AnswerCache(settings.cache_answers, metrics) if settings.cache_answers else None,
    )
    _log_start(state)
    return state


def _log_start(state: ServiceState) -> None:
    models = state.catalogue.models
    fields = {
        "provider": state.provider.name,
        "provider_reason": state.provider.reason,
        "threads": state.settings.threads,
        "models": [f"{model.name}@{model.version}" for model in models],
        "default": state.catalogue.default.name,
        "part_images": {model.name: model.tuning.part_images for model in models},
    }
    logger.info("models are loaded and proven", extra={"fields": fields})


def build_app(state: ServiceState) -> ASGIApp:
    """Return the application around its state.

    The middleware wraps the finished application, so that a 500 has its request id and its log
    line too.
    """
    api = build_api(state)
    hot = [route for router in ROUTERS for route in router.routes if isinstance(route, HotRoute)]
    dispatch = ProtocolSplit(ETagMiddleware(HotDispatch(api, hot)), build_v2(state))
    watched = AccessMiddleware(dispatch, state.metrics, state.lifecycle, state.settings.access_log)
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
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.service = state
    install_problem_handlers(api)
    for router in ROUTERS:
        api.include_router(router)
    return api


async def _sample_gauges(state: ServiceState) -> None:
    """Keep this worker's gauges fresh for whichever worker is scraped."""
    while True:
        state.metrics.sample()
        await asyncio.sleep(SAMPLE_SECONDS)
