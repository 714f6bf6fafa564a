"""`POST /v1/predict`: which class is in the image?"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from service.deadline import deadline
from service.prediction import predictions
from service.problems import problem_responses
from service.routes.intake import BODY_SCHEMA, ERRORS, check_top_k, elapsed_ms, take_images
from service.schemas import ModelIdentity, PredictAnswer, PredictTiming
from service.state import service_state

router = APIRouter(tags=["predict"])


@router.post("/v1/predict", responses=problem_responses(*ERRORS), openapi_extra=BODY_SCHEMA)
async def predict(
    request: Request,
    model: Annotated[str | None, Query(description="Name, or name@version.")] = None,
    top_k: Annotated[int, Query(description="How many labels per image.")] = 5,
) -> PredictAnswer:
    """Classify the images of the body with one model."""
    started = time.perf_counter()
    service = service_state(request)
    served = service.catalogue.find(model)
    check_top_k(top_k, len(served.labels))
    with service.lifecycle.work():
        async with deadline(service.settings.deadline_ms):
            intake = await take_images(request, service)
            outcome = await served.score(intake.images)
    timing = PredictTiming(
        decode=intake.decode_ms,
        queue=outcome.queue_ms,
        run=outcome.run_ms,
        total=elapsed_ms(started),
    )
    for stage in ("queue", "run", "total"):
        service.metrics.observe_stage(stage, getattr(timing, stage))
    return PredictAnswer(
        model=ModelIdentity(name=served.name, version=served.version, variant=served.variant),
        predictions=predictions(outcome.scores, served.labels, top_k),
        timing_ms=timing,
        request_id=request.state.request_id,
    )
