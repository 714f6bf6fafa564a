"""`/v1/tuning` and `/v1/shadow`: how the process runs its models, and where two of them differ."""

from __future__ import annotations

import base64
import io

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from PIL import Image
from starlette.requests import Request

from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.schemas import (
    DisagreementRecord,
    OpinionRecord,
    ShadowReport,
    Tuning,
    TuningEntry,
)

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
            TuningEntry(
                name=model.name,
                version=model.version,
                measured=model.tuning.measured,
                call_ms=model.tuning.call_ms,
                image_ms=model.tuning.image_ms,
                part_images=model.tuning.chunk_size,
                gather_images=model.tuning.max_batch_size,
            )
            for model in service.catalogue.models
        ],
    )


@router.get("/v1/shadow", responses=problem_responses())
async def shadow(request: Request) -> ShadowReport:
    """Return the latest images on which the shadow differs, from the worker that answers."""
    service = service_state(request)
    other = service.shadow.model()
    return ShadowReport(
        fraction=service.shadow.fraction,
        primary=service.catalogue.default.name,
        shadow=other.name if other else None,
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


def data_url(image: NDArray[np.uint8]) -> str:
    """Return an image (H, W, 3) as a PNG in a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
