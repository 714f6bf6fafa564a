"""The ASGI application: `uvicorn service.app:create_app --factory`, or `foldnorm-serve`."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from service.access import AccessMiddleware
from service.lifecycle import Lifecycle
from service.loading import load_models
from service.logs import configure_logging
from service.metrics import ServiceMetrics
from service.problems import install_problem_handlers
from service.providers import choose_provider
from service.readiness import Readiness
from service.request_id import RequestIdMiddleware
from service.routes import ROUTERS
from service.settings import load_settings
from service.state import ServiceState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from service.settings import Settings

logger = logging.getLogger("foldnorm")

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


def build_state(settings: Settings) -> ServiceState:
    """Load the models and make the stages around them.

    One thread runs all models: each batch has the CPUs to itself, so that the time it takes is its
    own, and the models do not compete.
    """
    provider = choose_provider(settings.cuda)
    run_executor = ThreadPoolExecutor(1, thread_name_prefix="run")
    metrics = ServiceMetrics()
    lifecycle = Lifecycle(settings.max_requests)
    metrics.watch_work(lifecycle)
    catalogue = load_models(settings, provider, run_executor, metrics)
    state = ServiceState(
        settings=settings,
        limits=settings.limits,
        provider=provider,
        catalogue=catalogue,
        metrics=metrics,
        lifecycle=lifecycle,
        readiness=Readiness(catalogue.models, run_executor),
        run_executor=run_executor,
        decode_executor=ThreadPoolExecutor(settings.threads, thread_name_prefix="decode"),
    )
    fields = {
        "provider": provider.name,
        "provider_reason": provider.reason,
        "threads": settings.threads,
        "models": [f"{model.name}@{model.version}" for model in catalogue.models],
        "default": catalogue.default.name,
    }
    logger.info("models are loaded and proven", extra={"fields": fields})
    return state


def build_app(state: ServiceState) -> ASGIApp:
    """Return the application around its state.

    The middleware wraps the finished application, so that a 500 has its request id and its log
    line too.
    """
    api = build_api(state)
    return RequestIdMiddleware(AccessMiddleware(api, state.metrics, state.lifecycle))


def build_api(state: ServiceState) -> FastAPI:
    """Return the routes alone."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        yield
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
