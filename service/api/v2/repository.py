"""`/v2/repository/…`: which models there are on disk, and loading and unloading them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from models.bundle import BundleError
from service.api.body import read_body
from service.api.state import service_state
from service.api.v2.fields import Table, flag, parameters_of, parse_object
from service.api.v2.responses import UnsupportedFeatureError, document, shown
from service.errors import MalformedRequestError, ModelRefusedError, UnknownModelError


async def index(request: Request) -> Response:
    """List the models, with `"ready": true` only those that answer."""
    table = await _read_table(request)
    only_ready = flag(table, "ready", default=False)
    entries = service_state(request).repository.index()
    return document(
        [
            {
                "name": entry.name,
                "version": entry.version,
                "state": entry.state,
                "reason": entry.reason,
            }
            for entry in entries
            if entry.state == "READY" or not only_ready
        ]
    )


async def load(request: Request) -> Response:
    """Load a model anew from its folder; the old one answers until the new one is proven."""
    parameters = parameters_of(await _read_table(request), "the request")
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise UnsupportedFeatureError(
                f"the parameter {shown(name)} is not served; a model is loaded from its "
                "artifact's folder and from nothing else"
            )
    return await _change(request, service_state(request).repository.load)


async def unload(request: Request) -> Response:
    """Take a model out of service once it has answered what it accepted."""
    parameters = parameters_of(await _read_table(request), "the request")
    flag(parameters, "unload_dependents", default=False)  # no model has any
    return await _change(request, service_state(request).repository.unload)


async def _change(request: Request, change: Callable[[str], Awaitable[object]]) -> Response:
    try:
        await change(request.path_params["name"])
    except (UnknownModelError, ModelRefusedError, BundleError) as exc:
        raise MalformedRequestError(str(exc)) from exc
    return document({})


async def _read_table(request: Request) -> Table:
    body = await read_body(request, service_state(request).limits)
    return parse_object(body) if body else {}
