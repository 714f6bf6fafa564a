"""The application that answers every path under `/v2`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from service.api.state import ServiceState
from service.api.v2 import health, models, repository
from service.api.v2.infer import route
from service.api.v2.responses import install_error_handlers

MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"


def build_v2(state: ServiceState) -> ASGIApp:
    """Return the application around the service's state.

    It expects to run inside the middleware that gives requests their id.
    """
    app = Starlette(routes=_routes())
    app.state.service = state
    app.router.redirect_slashes = False
    install_error_handlers(app)
    return app


def _routes() -> list[Route]:
    """Return the routes; they are tried in this order, so that infer comes first.

    `/v2/models/stats` comes before the models' names.
    """
    routes = [Route(f"{model}/infer", route.infer, methods=["POST"]) for model in (MODEL, VERSION)]
    routes += [Route(path, models.server) for path in ("/v2", "/v2/")]
    routes += [
        Route("/v2/health/live", health.live),
        Route("/v2/health/ready", health.ready),
        Route("/v2/models", models.listing),
        Route("/v2/models/stats", models.statistics),
        Route("/v2/repository/index", repository.index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", repository.load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", repository.unload, methods=["POST"]),
    ]
    for model in (MODEL, VERSION):
        routes += [
            Route(model, models.metadata),
            Route(f"{model}/ready", models.ready),
            Route(f"{model}/config", models.config),
            Route(f"{model}/stats", models.statistics),
        ]
    return routes
