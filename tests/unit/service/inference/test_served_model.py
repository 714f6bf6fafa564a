from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from service.inference.served_model import Scored, ServedModel
from service.inference.session import Scores

MakeModel = Callable[[], ServedModel]


def gray(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])


def score_together(model: ServedModel, *requests: NDArray[np.uint8]) -> list[Scored]:
    async def scenario() -> list[Scored]:
        return await asyncio.gather(*(model.score(images) for images in requests))

    return asyncio.run(scenario())


def test_requests_that_share_a_batch_get_their_own_scores(make_model: MakeModel) -> None:
    model = make_model()
    results = score_together(model, gray(1), gray(2, 3), gray(4))
    assert model.session.batches == [4]
    assert [list(one.scores.logits[:, 0]) for one in results] == [[1], [2, 3], [4]]


def test_the_time_of_a_request_is_divided_into_waiting_and_running(make_model: MakeModel) -> None:
    (result,) = score_together(make_model(), gray(1))
    assert result.run_s > 0
    assert result.queue_s >= 0


async def test_a_request_is_admitted_for_the_time_that_it_has_left(make_model: MakeModel) -> None:
    admitted: list[tuple[int, float]] = []
    batcher = SimpleNamespace(admit=lambda *request: admitted.append(request))
    model = replace(make_model(), batcher=batcher)

    model.check_room()
    model.check_room(asyncio.get_running_loop().time() + 60, images=3)
    (one, without_end), (three, left) = admitted
    assert (one, without_end, three) == (1, math.inf, 3)
    assert 0 < 60 - left < 10


def test_scores_split_into_consecutive_chunks() -> None:
    rows = np.arange(4, dtype=np.float32)[:, None]
    chunks = Scores(rows, rows * 2).split([1, 3])
    assert [list(chunk.logits[:, 0]) for chunk in chunks] == [[0], [1, 2, 3]]
    assert [list(chunk.probabilities[:, 0]) for chunk in chunks] == [[0], [2, 4, 6]]
