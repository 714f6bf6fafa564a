"""`/v2` and `/v2/models/…`: what is served, and what it has done."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from service.api.state import service_state
from service.api.v2.metadata import model_config, model_metadata, model_statistics, server_metadata
from service.api.v2.responses import document
from service.inference.served_model import ServedModel
from service.registry.catalogue import Catalogue


async def server(_request: Request) -> Response:
    """Name the server and the extensions that it serves."""
    return document(server_metadata())


async def listing(request: Request) -> Response:
    """Name the models."""
    models = service_state(request).catalogue.newest
    return document({"models": [model.name for model in models]})


async def metadata(request: Request) -> Response:
    """Describe a model's inputs and outputs."""
    model = requested_model(request)
    versions = [one.version for one in _versions(service_state(request).catalogue, model)]
    return document(model_metadata(model, versions))


async def config(request: Request) -> Response:
    """Give a model's configuration."""
    model = requested_model(request)
    return document(model_config(model, service_state(request).settings))


async def ready(request: Request) -> Response:
    """Answer if a model takes work: what is in the catalogue is proven, until draining begins."""
    model = requested_model(request)
    service_state(request).admission.check()
    return document({"name": model.name, "version": model.version, "ready": True})


async def statistics(request: Request) -> Response:
    """Give the statistics of one version, of all versions of a name, or of every model."""
    state = service_state(request)
    models: tuple[ServedModel, ...] = state.catalogue.models
    if "name" in request.path_params:
        model = requested_model(request)
        chosen = "version" in request.path_params
        models = (model,) if chosen else _versions(state.catalogue, model)
    entries = [
        model_statistics(model, state.metrics.statistics(model.name, model.version))
        for model in models
    ]
    return document({"model_stats": entries})


def requested_model(request: Request) -> ServedModel:
    """Return the model that the path names.

    Raises:
        UnknownModelError: no model has this name and version.
    """
    parts = request.path_params
    name = parts["name"] if "version" not in parts else f"{parts['name']}@{parts['version']}"
    return service_state(request).catalogue.find(name)


def _versions(catalogue: Catalogue, model: ServedModel) -> tuple[ServedModel, ...]:
    return tuple(other for other in catalogue.models if other.name == model.name)
