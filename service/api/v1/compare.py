"""`/v1/compare`: the models on the caller's images, and their evaluations side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from starlette.requests import Request

from service.api.cancellation import deadline, while_connected
from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.evaluation import EvaluationComparison
from service.api.v1.predictions import comparisons, predictions
from service.api.v1.query import predict_query
from service.api.v1.schemas import CompareAnswer, CompareTiming, ModelIdentity, ModelPredictions
from service.api.v1.upload import BODY_SCHEMA, ERRORS, elapsed_ms, take_images
from service.errors import DrainingError, MalformedRequestError
from service.inference.engine import Engine
from service.inference.served_model import ServedModel
from service.inference.session import Scores

ROUNDS = 5
ROUNDS_SECONDS = 0.05  # no further round once the measurement took this long

router = APIRouter(tags=["compare"])


@router.post("/v1/compare", responses=problem_responses(*ERRORS), openapi_extra=BODY_SCHEMA)
async def compare(
    request: Request,
    models: Annotated[
        str | None, Query(description="Comma-separated names; unset, every model.")
    ] = None,
    top_k: Annotated[int, Query(description="How many labels per image and model.")] = 5,
    _timeout_ms: Annotated[
        int | None,
        Query(
            alias="timeout_ms",
            description="Longest time to an answer, where less than the server's own limit.",
        ),
    ] = None,
) -> CompareAnswer:
    """Classify the images of the body with several models, in turns on the same batch.

    Each time in `timing_ms.run` is the median of up to 5 rounds. In a round each model runs once,
    alone, in one thread, and the next round begins with another model.
    """
    started = time.perf_counter()
    service = service_state(request)
    query = predict_query(request.scope["query_string"])
    served = service.catalogue.find_all(models)
    check_comparable(served)
    query.checked_top_k(len(served[0].labels))
    with service.lifecycle.work():
        async with deadline(query.limit_ms(service.settings.deadline_ms)):
            intake = await take_images(request, service)
            async with while_connected(request.receive):
                outcomes = await run_in_turns(service.engine, served, intake.images)
    return CompareAnswer(
        models=[
            ModelPredictions(
                model=ModelIdentity(name=model.name, version=model.version, variant=model.variant),
                predictions=predictions(scores, model.labels, top_k),
            )
            for model, (scores, _) in zip(served, outcomes, strict=True)
        ],
        images=comparisons([scores for scores, _ in outcomes]),
        timing_ms=CompareTiming(
            decode=intake.decode_ms,
            run={
                service.catalogue.call_name(model): median(seconds) * 1000
                for model, (_, seconds) in zip(served, outcomes, strict=True)
            },
            total=elapsed_ms(started),
        ),
        request_id=request.state.request_id,
    )


@router.get("/v1/compare", responses=problem_responses(DrainingError))
async def compare_evaluation(request: Request) -> EvaluationComparison:
    """Return the evaluations of the served networks side by side, from their manifests."""
    service = service_state(request)
    service.lifecycle.check_admission()
    return await service.evaluation()


async def run_in_turns(
    engine: Engine, models: Sequence[ServedModel], images: NDArray[np.uint8]
) -> list[tuple[Scores, list[float]]]:
    """Return each model's scores of the images, and the seconds of each of its runs."""
    scores: dict[ServedModel, Scores] = {}
    seconds: dict[ServedModel, list[float]] = {model: [] for model in models}
    started = time.perf_counter()
    for number in range(ROUNDS):
        first = number % len(models)
        for model in (*models[first:], *models[:first]):
            scores[model], run_s = await engine.run_whole(model.session, images)
            seconds[model].append(run_s)
        if time.perf_counter() - started > ROUNDS_SECONDS:
            break
    return [(scores[model], seconds[model]) for model in models]


def check_comparable(models: Sequence[ServedModel]) -> None:
    """Refuse a comparison that would say nothing.

    Raises:
        MalformedRequestError: fewer than two models, or models of different classes.
    """
    if len(models) < 2:
        names = ", ".join(model.name for model in models)
        raise MalformedRequestError(f"comparing takes at least 2 models, not only {names}")
    for model in models[1:]:
        if model.labels != models[0].labels:
            raise MalformedRequestError(
                f"{models[0].name} and {model.name} know different classes; compare models of "
                "the same data"
            )
