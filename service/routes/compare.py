"""`/v1/compare`: the models on the caller's images, and their evaluations side by side."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from service.deadline import deadline
from service.errors import DrainingError, MalformedRequestError
from service.evaluation import EvaluationComparison
from service.prediction import comparisons, predictions
from service.problems import problem_responses
from service.routes.intake import BODY_SCHEMA, ERRORS, check_top_k, elapsed_ms, take_images
from service.schemas import CompareAnswer, CompareTiming, ModelIdentity, ModelPredictions
from service.state import service_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.served_model import ServedModel

router = APIRouter(tags=["compare"])


@router.post("/v1/compare", responses=problem_responses(*ERRORS), openapi_extra=BODY_SCHEMA)
async def compare(
    request: Request,
    models: Annotated[
        str | None, Query(description="Comma-separated names; unset, every model.")
    ] = None,
    top_k: Annotated[int, Query(description="How many labels per image and model.")] = 5,
) -> CompareAnswer:
    """Classify the images of the body with several models, one after the other."""
    started = time.perf_counter()
    service = service_state(request)
    served = service.catalogue.find_all(models)
    check_comparable(served)
    check_top_k(top_k, len(served[0].labels))
    with service.lifecycle.work():
        async with deadline(service.settings.deadline_ms):
            intake = await take_images(request, service)
            outcomes = [await model.score(intake.images, alone=True) for model in served]
    return CompareAnswer(
        models=[
            ModelPredictions(
                model=ModelIdentity(name=model.name, version=model.version, variant=model.variant),
                predictions=predictions(outcome.scores, model.labels, top_k),
            )
            for model, outcome in zip(served, outcomes, strict=True)
        ],
        images=comparisons([outcome.scores for outcome in outcomes]),
        timing_ms=CompareTiming(
            decode=intake.decode_ms,
            run={
                service.catalogue.call_name(model): outcome.run_ms
                for model, outcome in zip(served, outcomes, strict=True)
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
    return await asyncio.to_thread(lambda: service.evaluation)


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
