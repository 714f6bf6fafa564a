"""`POST /v1/predict`: which class is in the image?"""

from __future__ import annotations

import time
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.cancellation import deadline, while_connected
from service.api.middleware.fast_route import HotRoute
from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.predictions import prediction_rows
from service.api.v1.query import predict_query
from service.api.v1.schemas import PredictAnswer
from service.api.v1.upload import BODY_SCHEMA, ERRORS, elapsed_ms, take_images
from service.observability.statistics import failure_reason

router = APIRouter(tags=["predict"], route_class=HotRoute)


@router.post(
    "/v1/predict",
    response_model=PredictAnswer,
    responses=problem_responses(*ERRORS),
    openapi_extra=BODY_SCHEMA,
)
async def predict(
    request: Request,
    _model: Annotated[
        str | None, Query(alias="model", description="Name, or name@version.")
    ] = None,
    _top_k: Annotated[int, Query(alias="top_k", description="How many labels per image.")] = 5,
    _timeout_ms: Annotated[
        int | None,
        Query(
            alias="timeout_ms",
            description="Longest time to an answer, where less than the server's own limit. A "
            "request that would not make it is refused at once.",
        ),
    ] = None,
) -> Response:
    """Classify the images of the body with one model."""
    started = time.perf_counter()
    service = service_state(request)
    query = predict_query(request.scope["query_string"])
    served = service.catalogue.find(query.model)
    top_k = query.checked_top_k(len(served.labels))
    try:
        with service.lifecycle.work():
            async with deadline(query.limit_ms(service.settings.deadline_ms)):
                served.check_room()
                intake = await take_images(request, service)
                async with while_connected(request.receive):
                    outcome, remembered = await service.score(served, intake.images)
    except BaseException as error:
        served.meter.failed(failure_reason(error))
        raise
    ended = time.perf_counter()
    rows = prediction_rows(outcome.scores, served.labels, top_k)
    answer = {
        "model": {"name": served.name, "version": served.version, "variant": served.variant},
        "predictions": rows,
        "timing_ms": {
            "decode": intake.decode_ms,
            "queue": outcome.queue_ms,
            "run": outcome.run_ms,
            "total": elapsed_ms(started),
        },
        "request_id": request.state.request_id,
    }
    headers = {} if remembered is None else {"X-Cache": "hit" if remembered else "miss"}
    response = Response(orjson.dumps(answer), headers=headers, media_type="application/json")
    served.meter.succeeded(
        images=len(intake.images),
        queue_s=outcome.queue_ms / 1000,
        input_s=intake.decode_ms / 1000,
        infer_s=outcome.run_ms / 1000,
        output_s=time.perf_counter() - ended,
    )
    service.shadow.offer(served, intake.images, outcome.scores)
    return response
