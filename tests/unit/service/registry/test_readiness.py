from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.bundle import Golden
from service.errors import ModelRefusedError
from service.inference.engine import Engine
from service.inference.served_model import ServedModel
from service.registry.readiness import Readiness
from tests.clock import Clock

MakeModel = Callable[[], ServedModel]

IMAGES = np.full((1, 32, 32, 3), 7, np.uint8)
RIGHT = Golden(IMAGES, np.full((1, 10), 7.0))
WRONG = Golden(IMAGES, np.full((1, 10), 8.0))


def test_a_model_that_answers_wrong_is_not_ready(make_model: MakeModel, engine: Engine) -> None:
    wrong = replace(make_model(), golden=WRONG)
    readiness = Readiness(lambda: [wrong], engine)
    with pytest.raises(ModelRefusedError, match=r"tiny-bn 1\.0\.0 is not ready: golden logits"):
        asyncio.run(readiness.check())


async def test_many_probes_ask_the_model_once_in_a_while(
    make_model: MakeModel, engine: Engine
) -> None:
    model, clock = replace(make_model(), golden=RIGHT), Clock()
    readiness = Readiness(lambda: [model], engine, clock)
    runs = []

    for seconds in (0.0, 0.5, 1.0):
        clock.now = 100.0 + seconds
        await asyncio.gather(readiness.check(), readiness.check())
        runs.append(len(model.session.batches))
    once = runs[0]
    assert once > 0
    assert [once, once, 2 * once] == runs


async def test_a_failure_is_not_cached_as_success(make_model: MakeModel, engine: Engine) -> None:
    wrong = replace(make_model(), golden=WRONG)
    readiness = Readiness(lambda: [wrong], engine, Clock())

    for _ in range(2):
        with pytest.raises(ModelRefusedError):
            await readiness.check()
