"""`POST /v1/predict`: which class is in the image?"""

from __future__ import annotations

import time
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.body import read_images
from service.api.cancellation import deadline, while_connected
from service.api.middleware.fast_route import FastRoute
from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.predictions import prediction_rows
from service.api.v1.query import TOP_K, predict_query
from service.api.v1.schemas import PredictAnswer
from service.api.v1.upload import BODY_SCHEMA, ERRORS, elapsed_ms

router = APIRouter(tags=["predict"], route_class=FastRoute)


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
    _top_k: Annotated[int | None, Query(alias="top_k", description=TOP_K)] = None,
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
    with served.metrics.counting_failures(), service.admission.work():
        async with deadline(query.limit_ms(service.settings.deadline_ms)) as ends_at:
            served.check_room(ends_at)
            files = await read_images(request, service.limits)
            request.state.images = len(files)
            async with while_connected(request.receive):
                result = await service.classifier.classify(served, files, ends_at)
    ended = time.perf_counter()
    answer = {
        "model": {"name": served.name, "version": served.version, "variant": served.variant},
        "predictions": prediction_rows(result.scores, served.labels, top_k),
        "timing_ms": {
            "decode": result.decode_s * 1000,
            "queue": result.queue_s * 1000,
            "run": result.run_s * 1000,
            "total": elapsed_ms(started),
        },
        "request_id": request.state.request_id,
    }
    headers = {} if result.cache_hit is None else {"X-Cache": "hit" if result.cache_hit else "miss"}
    response = Response(orjson.dumps(answer), headers=headers, media_type="application/json")
    service.answered(result, input_s=result.decode_s, output_s=time.perf_counter() - ended)
    return response
