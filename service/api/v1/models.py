"""`/v1/models`: the catalogue, the model cards, the learning curves."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.schemas import ModelCard, ModelEntry, ModelHistory, ModelList
from service.errors import UnknownModelError

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=problem_responses())
async def list_models(request: Request) -> ModelList:
    """List what is served, artifacts by name and newest version first."""
    service = service_state(request)
    entries = []
    for model in service.catalogue.models:
        manifest = model.bundle.manifest
        graph = manifest.graphs[model.variant]
        entries.append(
            ModelEntry(
                name=model.name,
                version=model.version,
                variant=model.variant,
                title=manifest.title,
                default=model is service.catalogue.default,
                test_accuracy=manifest.metrics.test.accuracy if manifest.metrics else None,
                parameters=graph.parameters,
                size_bytes=graph.size_bytes,
            )
        )
    return ModelList(models=entries, provider=service.provider.name)


@router.get("/v1/models/{name}", responses=problem_responses(UnknownModelError))
async def model_card(request: Request, name: str) -> ModelCard:
    """Return everything that is known of one model."""
    service = service_state(request)
    model = service.catalogue.find(name)
    manifest = model.bundle.manifest
    return ModelCard(
        name=model.name,
        version=model.version,
        variant=model.variant,
        title=manifest.title,
        default=model is service.catalogue.default,
        labels=manifest.labels,
        input=manifest.input,
        outputs=manifest.outputs,
        graph=manifest.graphs[model.variant],
        fold=manifest.fold,
        metrics=manifest.metrics,
        provenance=manifest.provenance,
        packed=manifest.packed,
        proof=model.proof,
    )


@router.get("/v1/models/{name}/history", responses=problem_responses(UnknownModelError))
async def model_history(request: Request, name: str) -> ModelHistory:
    """Return the learning curve of one model, epoch by epoch."""
    model = service_state(request).catalogue.find(name)
    return ModelHistory(name=model.name, version=model.version, epochs=model.history)
