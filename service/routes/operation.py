"""`/v1/tuning` and `/v1/shadow`: how the process runs its models, and where two of them differ."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from service.problems import problem_responses
from service.schemas import (
    DisagreementRecord,
    OpinionRecord,
    ShadowReport,
    Tuning,
    TuningEntry,
)
from service.state import service_state
from service.thumbnails import data_url

router = APIRouter(tags=["operation"])


@router.get("/v1/tuning", responses=problem_responses())
async def tuning(request: Request) -> Tuning:
    """Return what was measured at start-up and what was chosen, in the worker that answers."""
    service = service_state(request)
    return Tuning(
        cpus=service.settings.cpus,
        workers=service.settings.worker_count(service.provider.name),
        threads=service.settings.threads,
        provider=service.provider.name,
        provider_reason=service.provider.reason,
        max_batch_images=service.settings.max_batch_images,
        models=[
            TuningEntry(name=model.name, version=model.version, **vars(model.tuning))
            for model in service.catalogue.models
        ],
    )


@router.get("/v1/shadow", responses=problem_responses())
async def shadow(request: Request) -> ShadowReport:
    """Return the latest images on which the shadow differs, from the worker that answers."""
    service = service_state(request)
    twin = service.shadow.model()
    return ShadowReport(
        fraction=service.shadow.fraction,
        primary=service.catalogue.default.name,
        shadow=twin.name if twin else None,
        recent=[
            DisagreementRecord(
                time=one.time,
                image=data_url(one.image),
                primary=OpinionRecord(**vars(one.primary)),
                shadow=OpinionRecord(**vars(one.shadow)),
            )
            for one in reversed(service.shadow.recent)
        ],
    )
