from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.inference.served_model import Scored, ServedModel
from service.inference.session import Scores


def gray(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((32, 32, 3), level, np.uint8) for level in levels])


def score_together(model: ServedModel, *requests: NDArray[np.uint8]) -> list[Scored]:
    async def scenario() -> list[Scored]:
        return await asyncio.gather(*(model.score(images) for images in requests))

    return asyncio.run(scenario())


def test_requests_that_share_a_batch_get_their_own_scores(
    make_model: Callable[[], ServedModel],
) -> None:
    model = make_model()
    outcomes = score_together(model, gray(1), gray(2, 3), gray(4))
    assert model.session.batches == [4]
    assert [list(one.scores.logits[:, 0]) for one in outcomes] == [[1], [2, 3], [4]]


def test_the_time_of_a_request_is_divided_into_waiting_and_running(
    make_model: Callable[[], ServedModel],
) -> None:
    (outcome,) = score_together(make_model(), gray(1))
    assert outcome.run_s > 0
    assert outcome.queue_s >= 0


def test_scores_split_into_consecutive_parts() -> None:
    rows = np.arange(4, dtype=np.float32)[:, None]
    parts = Scores(rows, rows * 2).split([1, 3])
    assert [list(part.logits[:, 0]) for part in parts] == [[0], [1, 2, 3]]
    assert [list(part.probabilities[:, 0]) for part in parts] == [[0], [2, 4, 6]]
