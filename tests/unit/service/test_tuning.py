from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.session import Scores
from service.tuning import LOOP_SECONDS, choose_part, fit_line, tune

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Model:
    """A network that takes a + b n on a clock of its own, and sometimes longer."""

    def __init__(self, call: float, image: float) -> None:
        self.now = 0.0
        self._call, self._image = call, image
        self._runs = 0

    def run(self, images: NDArray[np.uint8]) -> Scores:
        self._runs += 1
        disturbed = 10.0 if self._runs % 3 == 0 else 0.0  # somebody else had the CPU
        self.now += self._call + self._image * len(images) + disturbed
        empty = np.zeros((len(images), 10), np.float32)
        return Scores(empty, empty)


def tuned(call: float, image: float, *, to_itself: bool = False) -> tuple[int, int]:
    model = Model(call, image)
    tuning = tune(model, most_gathered=64, has_cpus_to_itself=to_itself, clock=lambda: model.now)
    assert tuning.call_ms == pytest.approx(call * 1000, abs=1e-6)
    assert tuning.image_ms == pytest.approx(image * 1000, abs=1e-6)
    return tuning.part_images, tuning.gather_images


def test_a_part_is_the_largest_that_keeps_the_loop_for_no_longer_than_it_may() -> None:
    assert tuned(0.0, 0.0004) == (8, 8)
    assert tuned(0.0001, 0.0001) == (32, 32)
    assert tuned(0.002, 0.0000001) == (64, 64)


def test_a_slow_network_never_runs_on_the_loop_and_gathers_nothing() -> None:
    assert tuned(0.0, 2 * LOOP_SECONDS) == (0, 1)


def test_requests_are_gathered_further_where_there_are_cpus_for_several_parts() -> None:
    assert tuned(0.0, 0.0004, to_itself=True) == (8, 64)


def test_a_fit_is_never_negative() -> None:
    call, image = fit_line([(1, 0.001), (4, 0.006), (16, 0.030)])
    assert call == 0.0
    assert image == pytest.approx(0.00185, rel=0.01)


def test_the_bound_itself_fits() -> None:
    assert choose_part(0.0, LOOP_SECONDS) == 1
    assert choose_part(0.0, LOOP_SECONDS * 1.001) == 0
