"""Statistics over seeds."""

import pytest

from training.evaluation.seed_statistics import statistics_of


def test_the_deviation_is_that_of_a_sample_and_the_error_that_of_the_mean():
    figures = statistics_of([1.0, 2.0, 3.0, 6.0])
    assert (figures.n, figures.mean) == (4, 3.0)
    assert figures.standard_deviation == pytest.approx((14 / 3) ** 0.5)  # n - 1
    assert figures.standard_error == pytest.approx((14 / 3) ** 0.5 / 2)
    assert (figures.smallest, figures.largest) == (1.0, 6.0)


def test_one_run_has_no_spread():
    figures = statistics_of([0.94])
    assert (figures.mean, figures.standard_deviation, figures.standard_error) == (0.94, None, None)
