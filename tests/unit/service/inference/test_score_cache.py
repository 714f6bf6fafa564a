"""Scores are cached under everything that they depend on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.score_cache import ScoreCache
from service.inference.served_model import Scored, ServedModel
from service.inference.session import Scores
from service.observability.prometheus import ServiceMetrics

MakeModel = Callable[..., ServedModel]


class FakeModel:
    """Has what the cache reads of a model; its logits are an image's number, times a factor."""

    def __init__(
        self,
        name: str = "a",
        factor: int = 1,
        graph_sha256: str = "0" * 64,
        version: str = "1.0.0",
    ) -> None:
        self.name, self.factor, self.graph_sha256 = name, factor, graph_sha256
        self.version = version
        self.asked: list[list[int]] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def score(self, images: NDArray[np.uint8], deadline: float) -> Scored:
        self.asked.append(images[:, 0, 0, 0].tolist())
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError
        logits = np.repeat(images[:, 0, 0, :1].astype(np.float32) * self.factor, 10, axis=1)
        return Scored(Scores(logits, logits / 10), queue_s=3.0, run_s=4.0)


def numbered(numbers: Sequence[int]) -> NDArray[np.uint8]:
    images = np.zeros((len(numbers), 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = numbers
    return images


def make_cache(capacity: int = 8) -> ScoreCache:
    return ScoreCache(capacity, ServiceMetrics())


async def ask(cache: ScoreCache, model: FakeModel, *numbers: int) -> tuple[list[float], bool]:
    """Return the first logit of each image, and whether all of them were cached."""
    result, hit = await cache.score(model, numbered(numbers))
    assert (result.scores.probabilities * 10 == result.scores.logits).all()
    return result.scores.logits[:, 0].tolist(), hit


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario, though not for ever: what nobody wakes up is a failure too."""

    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await scenario

    return asyncio.run(bounded())


async def one_turn() -> None:
    await asyncio.sleep(0)


async def test_what_was_computed_is_cached() -> None:
    cache, model = make_cache(), FakeModel()
    assert await ask(cache, model, 1, 2) == ([1, 2], False)
    assert await ask(cache, model, 2, 1) == ([2, 1], True)
    assert model.asked == [[1, 2]]


async def test_only_what_is_missing_is_computed_and_each_image_once() -> None:
    cache, model = make_cache(), FakeModel()
    await ask(cache, model, 1)
    assert await ask(cache, model, 3, 1, 2, 3, 1) == ([3, 1, 2, 3, 1], False)
    assert model.asked == [[1], [3, 2]]


def test_a_cached_answer_took_no_time_and_a_computed_one_its_own() -> None:
    async def scenario() -> list[tuple[float, float]]:
        cache, model = make_cache(), FakeModel()
        results = [(await cache.score(model, numbered([1])))[0] for _ in range(2)]
        return [(result.queue_s, result.run_s) for result in results]

    assert run(scenario()) == [(3.0, 4.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    "other",
    [
        FakeModel("b", factor=2),
        FakeModel(factor=2, graph_sha256="1" * 64),
        FakeModel(factor=2, version="1.0.1"),
    ],
    ids=["name", "graph", "version"],
)
async def test_two_models_never_share_an_answer(other: FakeModel) -> None:
    cache, model = make_cache(), FakeModel()
    assert await ask(cache, model, 1) == ([1], False)
    assert await ask(cache, other, 1) == ([2], False)
    assert await ask(cache, model, 1) == ([1], True)


async def test_models_that_are_the_same_in_all_of_it_would_share_one() -> None:
    cache = make_cache()
    await ask(cache, FakeModel(), 1)
    assert await ask(cache, FakeModel(factor=2), 1) == ([1], True)


async def test_one_bit_of_one_pixel_makes_another_image() -> None:
    cache, model = make_cache(), FakeModel()
    image, other = numbered([1]), numbered([1])
    other[0, 31, 31, 2] ^= 1
    assert [(await cache.score(model, each))[1] for each in (image, other, image)] == [
        False,
        False,
        True,
    ]


def test_a_served_model_is_known_by_the_hash_of_its_graph(make_model: MakeModel) -> None:
    folded = make_model()
    unfolded = replace(folded, variant="unfolded")  # by mistake under the same name

    async def scenario() -> list[bool]:
        cache = make_cache()
        return [
            (await cache.score(model, numbered([1])))[1] for model in (folded, unfolded, folded)
        ]

    assert run(scenario()) == [False, False, True]


async def test_many_who_ask_at_once_wait_for_one_computation() -> None:
    cache, model = make_cache(), FakeModel()
    model.gate.clear()
    tasks = [asyncio.create_task(ask(cache, model, 1)) for _ in range(20)]
    await one_turn()
    model.gate.set()
    assert await asyncio.gather(*tasks) == [([1], False)] * 20
    assert model.asked == [[1]]


async def test_who_waits_for_others_computes_the_rest_meanwhile() -> None:
    cache, model = make_cache(), FakeModel()
    model.gate.clear()
    first = asyncio.create_task(ask(cache, model, 1, 2))
    second = asyncio.create_task(ask(cache, model, 2, 3))
    await one_turn()
    assert model.asked == [[1, 2], [3]]
    model.gate.set()
    assert await first == ([1, 2], False)
    assert await second == ([2, 3], False)


async def test_when_the_first_one_fails_the_next_one_computes() -> None:
    cache, model = make_cache(), FakeModel()
    model.failures = 1
    model.gate.clear()
    tasks = [asyncio.create_task(ask(cache, model, 1)) for _ in range(3)]
    await one_turn()
    model.gate.set()
    failed, *answered = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(failed, ZeroDivisionError)
    assert answered == [([1], False)] * 2
    assert model.asked == [[1], [1]]
    assert await ask(cache, model, 1) == ([1], True)


async def test_no_more_is_cached_than_there_is_room_for() -> None:
    cache, model = make_cache(capacity=2), FakeModel()
    for number in (1, 2, 1, 3):  # 1 was asked for after 2
        await ask(cache, model, number)
    assert [(await ask(cache, model, number))[1] for number in (1, 3, 2)] == [True, True, False]


async def test_what_is_cached_holds_no_batch_in_memory() -> None:
    cache, model = make_cache(), FakeModel()
    await ask(cache, model, *range(8))
    for number in range(8):
        found, hit = await cache.score(model, numbered([number]))
        assert hit
        assert found.scores.logits.base is None


def test_hits_and_misses_are_counted_by_request() -> None:
    async def scenario() -> str:
        metrics, model = ServiceMetrics(), FakeModel()
        cache = ScoreCache(8, metrics)
        for numbers in ([1, 2], [1], [2], [1, 3]):
            await ask(cache, model, *numbers)
        return metrics.render().decode()

    text = run(scenario())
    for result in ("hit", "miss"):
        sample = f'foldnorm_cache_total{{model="a",outcome="{result}",version="1.0.0"}} 2.0'
        assert sample in text


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.booleans()), max_size=12
    ),
    capacity=st.integers(1, 4),
    failures=st.integers(0, 3),
)
def test_every_request_gets_its_own_answer_whatever_fails_and_leaves(
    requests: list[tuple[list[int], bool]], capacity: int, failures: int
) -> None:
    async def scenario() -> None:
        cache, model = make_cache(capacity), FakeModel()
        model.failures = failures
        model.gate.clear()
        tasks = [asyncio.create_task(ask(cache, model, *numbers)) for numbers, _ in requests]
        await one_turn()
        for task, (_, leaves) in zip(tasks, requests, strict=True):
            if leaves:
                task.cancel()
        model.gate.set()
        async with asyncio.timeout(10):
            endings = await asyncio.gather(*tasks, return_exceptions=True)
        failed = sum(isinstance(ending, ZeroDivisionError) for ending in endings)
        assert failed <= failures
        for (numbers, leaves), ending in zip(requests, endings, strict=True):
            if leaves:
                assert isinstance(ending, asyncio.CancelledError)
            elif not isinstance(ending, ZeroDivisionError):
                assert ending == (numbers, False)
        model.failures = 0
        async with asyncio.timeout(10):  # nobody waits for a computation that ended
            hits = [(await ask(cache, model, number))[1] for number in range(6)]
        assert sum(hits) <= capacity

    run(scenario())
