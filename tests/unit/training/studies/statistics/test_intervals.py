"""Intervals of a mean against scipy's, and what few runs cannot say."""

import math

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.intervals import mean_interval

RUNS = [0.71, 0.74, 0.79]
ROUNDING = 1e-9  # two float64 paths to one number; the normal quantile misses by half the width


def test_the_interval_is_the_t_interval_of_scipy():
    ours = mean_interval(RUNS)
    theirs = stats.ttest_1samp(RUNS, 0)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.value, ours.n) == (pytest.approx(np.mean(RUNS)), 3)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=ROUNDING)
    assert (ours.degrees_of_freedom, ours.p) == (2, pytest.approx(theirs.pvalue, rel=ROUNDING))


def test_the_normal_quantile_in_its_place_would_be_noticed():
    ours = mean_interval(RUNS)
    reach = 1.96 * stats.sem(RUNS)
    assert ours.low != pytest.approx(ours.value - reach, rel=ROUNDING)
    assert ours.high - ours.value > 2 * reach


def test_a_single_run_has_no_interval():
    single = mean_interval([0.8])
    assert (single.value, single.low, single.high) == (0.8, -math.inf, math.inf)
    assert (single.degrees_of_freedom, single.p, single.n) == (0.0, None, 1)
    assert not single.has_interval


def test_equal_runs_have_an_interval_of_no_width_and_no_p():
    equal = mean_interval([0.1, 0.1, 0.1])
    assert (equal.value, equal.low, equal.high) == (0.1, 0.1, 0.1)
    assert (equal.degrees_of_freedom, equal.p) == (2, None)
    assert equal.has_interval


def test_runs_that_only_rounding_tells_apart_are_equal():
    assert 0.1 + 0.2 != 0.3
    assert mean_interval([0.1 + 0.2, 0.3, 0.3]).p is None
    assert mean_interval([0.3 + 1e-9, 0.3, 0.3]).p is not None


@pytest.mark.parametrize("values", [[], [0.7, math.nan], [0.7, math.inf]])
def test_no_run_and_a_run_that_is_no_number_are_refused(values):
    with pytest.raises(ValueError, match=r"no values|a value is"):
        mean_interval(values)


def test_three_runs_need_t_for_a_normal_quantile_covers_81_percent_and_their_range_75():
    # The mean of three normal runs over its standard error has t with 2 degrees of freedom.
    assert 1 - 2 * stats.t.sf(1.96, 2) == pytest.approx(0.81, abs=0.005)
    runs = np.random.default_rng(0).normal(size=(20_000, 3))
    held = (runs.min(axis=1) < 0) & (runs.max(axis=1) > 0)
    assert held.mean() == pytest.approx(0.75, abs=0.01)  # three standard errors
    resampled = stats.bootstrap((RUNS,), np.mean, method="percentile", rng=0).confidence_interval
    assert (resampled.low, resampled.high) == pytest.approx((min(RUNS), max(RUNS)))
