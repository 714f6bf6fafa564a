"""The shadow looks at what the default model answered, and never stands in its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from service.errors import OverloadedError
from service.inference.served_model import ServedModel
from service.inference.session import Scores
from service.observability.prometheus import ServiceMetrics
from service.registry.catalogue import Catalogue
from service.registry.classify import Classification, Classifier
from service.registry.shadow import KEPT, Shadow

MakeModel = Callable[..., ServedModel]


def by_first_red(model: ServedModel) -> ServedModel:
    """Make a model put an image into the class that the last digit of its first red names."""

    def run(images: NDArray[np.uint8]) -> Scores:
        logits = np.zeros((len(images), 10), np.float32)
        logits[np.arange(len(images)), images[:, 0, 0, 0] % 10] = 5
        return Scores(logits, logits / 10)

    model.session.run = run
    return model


def of_classes(*classes: int) -> NDArray[np.uint8]:
    images = np.zeros((len(classes), 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = classes
    return images


def answer(model: ServedModel, images: NDArray[np.uint8], scores: Scores) -> Classification:
    return Classification(model, images, scores, decode_s=0.0, queue_s=0.0, run_s=0.0)


class Traffic:
    """A default model, its shadow and a third one, and what was counted of them."""

    def __init__(
        self,
        make_model: MakeModel,
        classifier: Classifier,
        fraction: float = 1.0,
        name: str | None = None,
    ) -> None:
        self.metrics = ServiceMetrics()
        self.primary, self.shade, self.third = (
            by_first_red(make_model(name)) for name in ("primary", "shade", "third")
        )
        self.catalogue = Catalogue([self.primary, self.shade, self.third], "primary")
        self.shadow = Shadow(
            fraction,
            name,
            "preferred",
            lambda: self.catalogue,
            classifier,
            self.metrics,
            Random(0),
        )

    def offer(self, *classes: int, answered: tuple[int, ...] | None = None) -> None:
        """Offer what the default model answered: the true classes, or others."""
        scores = self.primary.session.run(of_classes(*(answered or classes)))
        self.shadow.offer(answer(self.primary, of_classes(*classes), scores))

    def counted(self, outcome: str, shadow: str = "shade") -> float:
        labels = {"primary": "primary", "shadow": shadow, "outcome": outcome}
        return self.metrics.registry.get_sample_value("foldnorm_shadow_total", labels) or 0.0

    def disagreements(self, first: int, second: int) -> float:
        a, b = self.primary.labels[first], self.primary.labels[second]
        labels = {"primary": "primary", "shadow": "shade", "a": a, "b": b}
        return self.metrics.registry.get_sample_value("foldnorm_disagreements_total", labels) or 0.0

    def watch(self, *classes: int, answered: tuple[int, ...] | None = None) -> None:
        """Offer an answer and wait until the shadow has looked at it."""

        async def scenario() -> None:
            self.offer(*classes, answered=answered)
            await self.shadow.close()

        asyncio.run(scenario())


MakeTraffic = Callable[..., Traffic]


@pytest.fixture
def make_traffic(make_model: MakeModel, classifier: Classifier) -> MakeTraffic:
    return lambda *args, **options: Traffic(make_model, classifier, *args, **options)


def test_images_that_both_see_alike_are_compared_and_not_kept(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()
    traffic.watch(1, 2, 3)
    assert traffic.counted("compared") == 3
    assert list(traffic.shadow.recent) == []
    assert "foldnorm_disagreements_total{" not in traffic.metrics.render().decode()


def test_images_that_both_see_differently_are_counted_and_kept(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()
    traffic.watch(1, 2, 3, answered=(1, 7, 3))
    assert traffic.counted("compared") == 3
    assert traffic.disagreements(7, 2) == 1
    assert traffic.disagreements(2, 7) == 0
    (kept,) = traffic.shadow.recent
    assert (kept.image == of_classes(2)[0]).all()
    labels = traffic.primary.labels
    assert (kept.primary.model, kept.primary.label) == ("primary", labels[7])
    assert (kept.shadow.model, kept.shadow.label) == ("shade", labels[2])
    assert kept.primary.probability == kept.shadow.probability == 0.5


def test_what_is_kept_is_a_copy_of_the_image_alone(make_traffic: MakeTraffic) -> None:
    """A view would hold the whole batch in memory, and show what overwrites it."""
    traffic = make_traffic()
    traffic.watch(*range(10), answered=(9, *range(1, 10)))
    (kept,) = traffic.shadow.recent
    assert kept.image.base is None


def test_only_the_latest_are_kept(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()

    for red in range(KEPT + 3):
        traffic.watch(red, answered=(red + 1,))
    assert [one.image[0, 0, 0] for one in traffic.shadow.recent] == list(range(3, KEPT + 3))
    assert traffic.counted("compared") == KEPT + 3


@pytest.mark.parametrize(("fraction", "compared"), [(0.0, 0), (0.5, 0.5), (1.0, 1)])
def test_a_share_of_the_requests_is_sampled(
    make_traffic: MakeTraffic, fraction: float, compared: float
) -> None:
    traffic, requests = make_traffic(fraction), 200

    for _ in range(requests):
        traffic.watch(1)
    # Five standard deviations of 200 draws; the seed makes them the same ones every time.
    tolerance = 5 * (fraction * (1 - fraction) / requests) ** 0.5
    assert abs(traffic.counted("compared") / requests - compared) <= tolerance


async def test_the_answers_of_other_models_are_left_alone(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()

    images = of_classes(1)
    scores = traffic.third.session.run(images)
    traffic.shadow.offer(answer(traffic.third, images, scores))
    await traffic.shadow.close()
    assert 'outcome="compared"' not in traffic.metrics.render().decode()


async def test_an_offer_is_dropped_while_another_is_compared(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()

    traffic.offer(1)
    traffic.offer(2, 3)
    await traffic.shadow.close()
    traffic.offer(4)
    await traffic.shadow.close()
    assert (traffic.counted("compared"), traffic.counted("dropped")) == (2, 2)


async def test_an_offer_is_dropped_while_anything_waits_for_any_model(
    make_traffic: MakeTraffic,
) -> None:
    traffic = make_traffic()

    waiting = asyncio.create_task(traffic.third.score(of_classes(1)))
    await asyncio.sleep(0)
    assert traffic.third.batcher.waiting == 1
    traffic.offer(1)
    await traffic.shadow.close()
    assert (traffic.counted("compared"), traffic.counted("dropped")) == (0, 1)
    await waiting
    traffic.offer(1)
    await traffic.shadow.close()
    assert (traffic.counted("compared"), traffic.counted("dropped")) == (1, 1)


def test_a_shadow_whose_queue_is_full_is_dropped(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()

    def full(_size: int, _within: float) -> None:
        raise OverloadedError("full", 1.0)

    traffic.shade.batcher.admit = full

    traffic.watch(1)
    assert (traffic.counted("compared"), traffic.counted("dropped")) == (0, 1)


def test_a_shadow_that_fails_is_counted_and_logged_and_ends_nothing(
    make_traffic: MakeTraffic, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = make_traffic()
    run = traffic.shade.session.run

    def fail(_images: NDArray[np.uint8]) -> Scores:
        raise RuntimeError("the shadow's network is broken")

    traffic.shade.session.run = fail
    traffic.watch(1)  # closing waits for it, as the process does when it stops
    traffic.shade.session.run = run
    traffic.watch(2)
    assert (traffic.counted("failed"), traffic.counted("compared")) == (1, 1)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "the shadow's network is broken" in caplog.text


def test_the_shadow_is_the_one_that_is_named(make_traffic: MakeTraffic) -> None:
    assert make_traffic(name="third").shadow.model().name == "third"


@pytest.mark.parametrize("name", ["primary", "nobody"])
def test_a_name_that_is_no_other_model_means_no_shadow(
    make_traffic: MakeTraffic, name: str
) -> None:
    traffic = make_traffic(name=name)

    traffic.watch(1)
    assert traffic.shadow.model() is None
    assert 'outcome="' not in traffic.metrics.render().decode()


def test_what_the_folder_prefers_goes_before_the_first_other_model(
    make_traffic: MakeTraffic, make_model: MakeModel
) -> None:
    traffic = make_traffic()
    assert traffic.shadow.model() is traffic.shade
    baseline = make_model("preferred")
    traffic.catalogue = Catalogue([traffic.primary, traffic.shade, baseline], "primary")
    assert traffic.shadow.model() is baseline


def test_a_model_alone_has_no_shadow(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()
    traffic.catalogue = Catalogue([traffic.primary])
    assert traffic.shadow.model() is None


def test_a_model_of_other_images_or_labels_is_no_shadow(make_traffic: MakeTraffic) -> None:
    traffic = make_traffic()
    manifest = traffic.primary.bundle.manifest
    others = [
        replace(
            traffic.shade, bundle=Bundle(traffic.shade.bundle.path, replace(manifest, **change))
        )
        for change in (
            {"labels": manifest.labels[::-1]},
            {"input": replace(manifest.input, shape=("N", 16, 16, 3))},
        )
    ]
    for other in others:
        traffic.catalogue = Catalogue([traffic.primary, other])
        assert traffic.shadow.model() is None
