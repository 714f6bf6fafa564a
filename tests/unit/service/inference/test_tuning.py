"""How a model's batches are cut follows from what its runs take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.session import Scores
from service.inference.tuning import (
    BUCKETS,
    LOOP_SECONDS,
    MEASURED_SIZES,
    REPEATS,
    ModelTuning,
    choose_chunk,
    fit_line,
    tune,
)


class TimedSession:
    """A network that takes `call + image * n` seconds on a clock of its own."""

    def __init__(self, call: float, image: float, disturbed: float = 0.0) -> None:
        self._call, self._image, self._disturbed = call, image, disturbed
        self.now = 0.0
        self.runs: list[int] = []

    def clock(self) -> float:
        return self.now

    def run(self, images: NDArray[np.uint8]) -> Scores:
        first = len(images) not in self.runs
        self.runs.append(len(images))
        busy = len(self.runs) % 2  # every other run is held up by something else
        self.now += self._call + self._image * len(images)
        self.now += 60.0 * first + self._disturbed * busy
        none = np.zeros((len(images), 10), np.float32)
        return Scores(none, none)


def tuned(session: TimedSession, *, has_cpus: bool = True, most: int = 64) -> ModelTuning:
    return tune(
        session, (32, 32, 3), max_batch_size=most, has_cpus_to_itself=has_cpus, clock=session.clock
    )


def test_points_on_a_line_give_the_line() -> None:
    line = fit_line([(n, 0.002 + 0.0003 * n) for n in (1, 4, 16)])
    assert line == pytest.approx((0.002, 0.0003))


def test_a_line_that_would_begin_below_zero_is_fitted_through_it() -> None:
    call, image = fit_line([(1, 0.0001), (4, 0.0012), (16, 0.0064)])
    assert call == 0
    sizes, seconds = np.array([1, 4, 16]), np.array([0.0001, 0.0012, 0.0064])
    errors = [np.square(seconds - factor * image * sizes).sum() for factor in (0.99, 1, 1.01)]
    assert min(errors) == errors[1]


def test_larger_batches_that_take_less_do_not_give_a_negative_pace() -> None:
    call, image = fit_line([(1, 0.003), (4, 0.002), (16, 0.001)])
    assert image == 0
    assert call > 0.001


@settings(deadline=None)
@given(call=st.floats(0, 0.01), image=st.floats(0, 0.01))
def test_a_chunk_is_the_largest_that_the_event_loop_can_bear(call: float, image: float) -> None:
    chunk = choose_chunk(call, image)
    assert chunk == 0 or call + image * chunk <= LOOP_SECONDS
    larger = [bucket for bucket in BUCKETS if bucket > chunk]
    assert all(call + image * bucket > LOOP_SECONDS for bucket in larger)


def test_a_model_is_measured_warm_and_by_its_shortest_runs() -> None:
    session = TimedSession(0.001, 0.0005, disturbed=7.0)
    tuning = tuned(session)
    assert session.runs == [size for size in MEASURED_SIZES for _ in range(1 + REPEATS)]
    shortest = [1 + 0.5 * size for size in MEASURED_SIZES]
    assert [found.milliseconds for found in tuning.measured] == pytest.approx(shortest)
    assert [found.images for found in tuning.measured] == list(MEASURED_SIZES)
    assert (tuning.call_ms, tuning.image_ms) == pytest.approx((1.0, 0.5))
    assert tuning.chunk_size == 8


def test_runs_that_are_all_disturbed_would_be_noticed() -> None:
    assert tuned(TimedSession(7.001, 0.0005)).chunk_size == 0


@pytest.mark.parametrize(
    ("has_cpus", "image", "most", "gathered"),
    [
        (True, 0.0005, 64, 64),  # its threads share a batch of many chunks
        (False, 0.0005, 64, 8),  # one chunk, for there is no CPU for another
        (False, 0.0005, 4, 4),
        (False, 1.0, 64, 1),
        (True, 1.0, 64, 64),
    ],
)
def test_a_batch_is_as_large_as_there_are_cpus_for(
    has_cpus: bool, image: float, most: int, gathered: int
) -> None:
    session = TimedSession(0.001, image)
    assert tuned(session, has_cpus=has_cpus, most=most).max_batch_size == gathered
