"""`/v1/compare`: the models on the caller's images, and their evaluations side by side."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from starlette.requests import Request

from models.tensors import ImageSpec
from service.api.body import read_images
from service.api.cancellation import deadline, while_connected
from service.api.problems import problem_responses
from service.api.state import service_state
from service.api.v1.evaluation import EvaluationComparison, Evaluations
from service.api.v1.predictions import comparisons, predictions
from service.api.v1.query import TOP_K, predict_query
from service.api.v1.schemas import (
    CompareAnswer,
    CompareTiming,
    ModelIdentity,
    ModelPredictions,
    Pixels,
)
from service.api.v1.upload import BODY_SCHEMA, ERRORS, elapsed_ms
from service.errors import DrainingError, MalformedRequestError
from service.inference.served_model import ServedModel
from service.registry.classify import Classification, Classifier

ROUNDS = 5
ROUNDS_SECONDS = 0.05  # no further round once the measurement took this long

router = APIRouter(tags=["compare"])


@router.post("/v1/compare", responses=problem_responses(*ERRORS), openapi_extra=BODY_SCHEMA)
async def compare(
    request: Request,
    models: Annotated[
        str | None,
        Query(description="Comma-separated names; unset, every model of the default's classes."),
    ] = None,
    _top_k: Annotated[int | None, Query(alias="top_k", description=TOP_K)] = None,
    _timeout_ms: Annotated[
        int | None,
        Query(
            alias="timeout_ms",
            description="Longest time to an answer, where less than the server's own limit.",
        ),
    ] = None,
    _pixels: Annotated[
        bool, Query(alias="pixels", description="Also return what each model saw of the images.")
    ] = False,
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
    top_k = [query.checked_top_k(len(model.labels)) for model in served]
    with service.admission.work():
        async with deadline(query.limit_ms(service.settings.deadline_ms)):
            files = await read_images(request, service.limits)
            request.state.images = len(files)
            async with while_connected(request.receive):
                decoding = time.perf_counter()
                pixels = await decode_for_all(service.classifier, served, files)
                decode_ms = elapsed_ms(decoding)
                results = await classify_in_turns(service.classifier, served, pixels)
    return CompareAnswer(
        models=[
            ModelPredictions(
                model=ModelIdentity(name=model.name, version=model.version, variant=model.variant),
                predictions=predictions(rounds[-1].scores, model.labels, shown),
                pixels=[as_pixels(image) for image in seen] if query.pixels else None,
            )
            for model, rounds, shown, seen in zip(served, results, top_k, pixels, strict=True)
        ],
        images=comparisons([rounds[-1].scores for rounds in results], alike=same_labels(served)),
        timing_ms=CompareTiming(
            decode=decode_ms,
            run={
                service.catalogue.call_name(model): median(one.run_s for one in rounds) * 1000
                for model, rounds in zip(served, results, strict=True)
            },
            total=elapsed_ms(started),
        ),
        request_id=request.state.request_id,
    )


@router.get("/v1/compare", responses=problem_responses(DrainingError))
async def compare_evaluation(request: Request) -> EvaluationComparison:
    """Return the evaluations of the served networks side by side, from their manifests."""
    service = service_state(request)
    service.admission.check()
    evaluations: Evaluations = request.app.state.evaluations
    return await evaluations.of(service.catalogue)


def as_pixels(image: NDArray[np.uint8]) -> Pixels:
    """Return an image (H, W, C) for JSON."""
    height, width, channels = image.shape
    data = base64.b64encode(image.tobytes()).decode("ascii")
    return Pixels(height=height, width=width, channels=channels, data=data)


async def decode_for_all(
    classifier: Classifier, models: Sequence[ServedModel], files: Sequence[bytes]
) -> list[NDArray[np.uint8]]:
    """Return each model's pixels (N, H, W, C); models that take the same share them."""
    pixels: dict[ImageSpec, NDArray[np.uint8]] = {}
    for model in models:
        if model.spec not in pixels:
            pixels[model.spec] = await classifier.decode(model, files)
    return [pixels[model.spec] for model in models]


async def classify_in_turns(
    classifier: Classifier,
    models: Sequence[ServedModel],
    pixels: Sequence[NDArray[np.uint8]],
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[Classification]]:
    """Return what each model says of its pixels, once for every round."""
    results: list[list[Classification]] = [[] for _ in models]
    started = clock()
    for number in range(ROUNDS):
        first = number % len(models)
        for index in (*range(first, len(models)), *range(first)):
            one = await classifier.classify(models[index], pixels[index], alone=True)
            results[index].append(one)
        if clock() - started > ROUNDS_SECONDS:
            break
    return results


def check_comparable(models: Sequence[ServedModel]) -> None:
    """Refuse a comparison that would say nothing.

    Raises:
        MalformedRequestError: fewer than two models.
    """
    if len(models) < 2:
        names = ", ".join(model.name for model in models)
        raise MalformedRequestError(
            f"comparing takes at least 2 models, not only {names}; name several in models="
        )


def same_labels(models: Sequence[ServedModel]) -> bool:
    """Return whether the models know the same classes, in one order."""
    return len({model.labels for model in models}) == 1
