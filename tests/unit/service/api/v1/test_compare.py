from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.v1.compare import (
    ROUNDS,
    ROUNDS_SECONDS,
    check_comparable,
    classify_in_turns,
    same_labels,
)
from service.errors import MalformedRequestError
from service.inference.engine import Engine
from service.inference.served_model import ServedModel
from service.inference.session import Scores
from service.registry.classify import Classification, Classifier

MakeModel = Callable[..., ServedModel]

IMAGES = np.full((2, 32, 32, 3), 9, np.uint8)


def test_one_model_alone_is_not_compared_and_two_are(make_model: MakeModel) -> None:
    check_comparable([make_model("a"), make_model("b")])
    with pytest.raises(MalformedRequestError, match="at least 2 models, not only a"):
        check_comparable([make_model("a")])


def test_the_same_labels_in_another_order_are_others(make_model: MakeModel) -> None:
    model = make_model("a")
    manifest = replace(model.bundle.manifest, labels=model.labels[::-1])
    turned = replace(model, bundle=replace(model.bundle, manifest=manifest))
    assert same_labels([model, make_model("b")])
    assert not same_labels([model, turned])


class Diary:
    """What several fake networks ran, in the order in which they did."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, NDArray[np.uint8]]] = []

    def watch(self, model: ServedModel) -> ServedModel:
        run = model.session.run

        def noting(images: NDArray[np.uint8]) -> Scores:
            self.entries.append((model.name, images))
            return run(images)

        return replace(model, session=SimpleNamespace(run=noting))

    def names(self) -> str:
        return "".join(name for name, _ in self.entries)


async def in_turns(
    classifier: Classifier,
    models: list[ServedModel],
    images: NDArray[np.uint8] = IMAGES,
    round_s: float = 0.0,
) -> list[list[Classification]]:
    """Compare, on a clock on which every round takes this long."""
    clock = itertools.count(step=round_s)
    return await classify_in_turns(classifier, models, [images] * len(models), lambda: next(clock))


def test_models_take_turns_and_none_of_them_is_always_the_first(
    make_model: MakeModel, classifier: Classifier
) -> None:
    diary = Diary()
    models = [diary.watch(make_model(name)) for name in "abc"]
    results = asyncio.run(in_turns(classifier, models))
    assert diary.names() == "abc" + "bca" + "cab" + "abc" + "bca"
    assert [len(rounds) for rounds in results] == [ROUNDS] * 3


def test_every_model_runs_the_same_batch_as_a_whole(
    make_model: MakeModel, classifier: Classifier
) -> None:
    diary = Diary()
    models = [diary.watch(make_model(name)) for name in "ab"]
    larger_than_a_chunk = np.repeat(IMAGES, 100, axis=0)
    asyncio.run(in_turns(classifier, models, larger_than_a_chunk))
    assert all(images is larger_than_a_chunk for _, images in diary.entries)


def test_a_slow_comparison_has_one_round(make_model: MakeModel, classifier: Classifier) -> None:
    diary = Diary()
    models = [diary.watch(make_model(name)) for name in "ab"]
    results = asyncio.run(in_turns(classifier, models, round_s=1.1 * ROUNDS_SECONDS))
    assert diary.names() == "ab"
    assert [len(rounds) for rounds in results] == [1, 1]


def test_scores_and_times_are_given_in_the_order_of_the_models(
    make_model: MakeModel, classifier: Classifier
) -> None:
    quick, slow = make_model("quick"), make_model("slow")

    def run(images: NDArray[np.uint8]) -> Scores:
        time.sleep(0.002)  # far more than the other takes
        ones = np.ones((len(images), 10), np.float32)
        return Scores(ones, ones)

    slow = replace(slow, session=SimpleNamespace(run=run))
    for models in ([quick, slow], [slow, quick]):
        results = asyncio.run(in_turns(classifier, models))
        first, second = (results[models.index(model)] for model in (quick, slow))
        assert min(one.run_s for one in second) > min(one.run_s for one in first)
        assert (second[-1].scores.logits == 1).all()


async def test_a_model_that_is_asked_in_between_waits_for_one_run_at_most(
    make_model: MakeModel, classifier: Classifier, engine: Engine
) -> None:
    diary = Diary()
    models = [diary.watch(make_model(name)) for name in "ab"]
    other = diary.watch(make_model("x"))

    comparing = asyncio.create_task(in_turns(classifier, models))
    await asyncio.sleep(0)
    await engine.run(other.session, IMAGES, chunk_size=64)
    await comparing
    assert diary.names() == "ax" + "b" + "ba" + "ab" + "ba" + "ab"
