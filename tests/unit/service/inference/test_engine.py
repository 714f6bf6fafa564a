from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.engine import Engine, split
from service.inference.session import Scores


class Recorder:
    """Gives every image its own first pixel as logit, and notes who ran what."""

    def __init__(self, lasts_s: float = 0.0) -> None:
        self._lasts_s = lasts_s
        self.runs: list[tuple[str, int]] = []
        self.running = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def run(self, images: NDArray[np.uint8]) -> Scores:
        with self.lock:
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
            self.runs.append((threading.current_thread().name, len(images)))
        time.sleep(self._lasts_s)  # for another one to begin meanwhile, if it may
        logits = np.repeat(images[:, 0, 0, :1].astype(np.float32), 10, axis=1)
        with self.lock:
            self.running -= 1
        return Scores(logits, logits / 10)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(threads=2)
    yield engine
    engine.close()


def numbered(count: int) -> NDArray[np.uint8]:
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def test_a_small_batch_runs_in_the_thread_of_its_caller(engine: Engine) -> None:
    session = Recorder()
    scores, seconds = asyncio.run(engine.run(session, numbered(8), chunk_size=8))
    assert session.runs == [(threading.current_thread().name, 8)]
    assert scores.logits[:, 0].tolist() == list(range(8))
    assert seconds > 0


def test_a_large_batch_runs_in_chunks_on_the_threads_and_keeps_its_order(engine: Engine) -> None:
    session = Recorder()
    scores, _ = asyncio.run(engine.run(session, numbered(40), chunk_size=8))
    assert sum(size for _, size in session.runs) == 40
    assert all(name.startswith("run") and size <= 8 for name, size in session.runs)
    assert scores.logits[:, 0].tolist() == list(range(40))
    assert np.allclose(scores.probabilities, scores.logits / 10)


def test_nothing_runs_in_the_callers_thread_where_no_chunk_is_short_enough(engine: Engine) -> None:
    session = Recorder()
    asyncio.run(engine.run(session, numbered(1), chunk_size=0))
    assert [name.startswith("run") for name, _ in session.runs] == [True]


async def test_batches_of_all_models_take_turns(engine: Engine) -> None:
    both = Recorder(lasts_s=0.002)
    first, second = SimpleNamespace(run=both.run), SimpleNamespace(run=both.run)

    await asyncio.gather(
        *(engine.run(session, numbered(1), chunk_size=0) for session in (first, second) * 5),
        *(engine.run_whole(session, numbered(1)) for session in (first, second)),
    )
    assert len(both.runs) == 12
    assert both.most_at_once == 1


def test_chunks_of_one_batch_run_at_once(engine: Engine) -> None:
    session = Recorder(lasts_s=0.002)
    asyncio.run(engine.run(session, numbered(8), chunk_size=1))
    assert session.most_at_once == 2


def test_a_timed_run_is_one_call_however_many_images(engine: Engine) -> None:
    session = Recorder()
    scores, seconds = asyncio.run(engine.run_whole(session, numbered(40)))
    assert [size for _, size in session.runs] == [40]
    assert len(scores.logits) == 40
    assert seconds >= 0


@pytest.mark.parametrize(
    ("count", "threads", "most", "expected"),
    [
        (16, 2, 8, [8, 8]),
        (17, 2, 8, [5, 4, 4, 4]),  # as many chunks as keep both threads busy to the end
        (64, 2, 16, [16, 16, 16, 16]),
        (5, 4, 0, [2, 1, 1, 1]),  # no bound: one chunk for each thread
        (1, 4, 0, [1]),
    ],
)
def test_chunks_are_equal_and_a_multiple_of_the_threads(
    count: int, threads: int, most: int, expected: list[int]
) -> None:
    assert [len(chunk) for chunk in split(numbered(count), threads, most)] == expected
