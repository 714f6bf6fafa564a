"""Ratios of epochs to a threshold, and bounds where a run never got there."""

import math

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.crossing import Crossings
from training.studies.statistics.crossing_ratio import CrossingRatio, RatioBound, crossing_ratio

FAST = Crossings("BN", (9, 10, 12), 30)


def test_the_ratio_is_the_exponential_of_scipys_welch_interval_of_logs():
    found = crossing_ratio(Crossings("baseline", (24, 30, 27), 30), FAST)
    theirs = stats.ttest_ind(np.log([24, 30, 27]), np.log([9, 10, 12]), equal_var=False)
    low, high = np.exp(theirs.confidence_interval(0.95))
    assert isinstance(found, CrossingRatio)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high))
    assert found.estimate.value == pytest.approx((24 * 30 * 27 / (9 * 10 * 12)) ** (1 / 3))
    assert found.estimate.p == pytest.approx(theirs.pvalue)


def test_a_ratio_is_said_with_its_interval():
    found = crossing_ratio(Crossings("baseline", (24, 30, 27), 30), FAST)
    assert found.sentence == (
        "BN: 3 of 3 within 9 to 12 epochs; baseline: 3 of 3 within 24 to 30 epochs; "
        "2.6 times as many epochs, 1.9 to 3.5"
    )


def test_single_runs_have_a_ratio_without_an_interval():
    found = crossing_ratio(Crossings("baseline", (25,), 30), Crossings("BN", (10,), 30))
    assert isinstance(found, CrossingRatio)
    assert (found.estimate.low, found.estimate.high) == (0.0, math.inf)
    assert found.sentence.endswith("; 2.5 times as many epochs, a single run without an interval")


def test_arms_whose_runs_arrive_together_have_no_interval_to_speak_of():
    found = crossing_ratio(Crossings("baseline", (25, 25), 30), Crossings("BN", (10, 10), 30))
    assert isinstance(found, CrossingRatio)
    assert (found.estimate.p, found.estimate.value) == (None, pytest.approx(2.5))
    assert found.sentence.endswith("; 2.5 times as many epochs, the runs of each alike")


def test_runs_that_never_arrived_give_a_bound_and_no_estimate():
    found = crossing_ratio(Crossings("baseline", (None, None, None), 30), FAST)
    assert isinstance(found, RatioBound)
    assert (found.at_least, found.at_most) == (2.5, None)
    assert found.sentence == (
        "BN: 3 of 3 within 9 to 12 epochs; baseline: 0 of 3 within 30 epochs; "
        "at least 2.5 times as many epochs"
    )


def test_the_bound_holds_for_the_run_that_did_arrive():
    found = crossing_ratio(Crossings("baseline", (20, None, None), 30), FAST)
    assert isinstance(found, RatioBound)
    assert found.at_least == pytest.approx(20 / 12)
    assert found.sentence.endswith("at least 1.6 times as many epochs")  # rounded down: still true


def test_a_guess_the_wrong_way_round_gives_a_bound_from_above():
    found = crossing_ratio(FAST, Crossings("baseline", (None, 29, None), 30))
    assert isinstance(found, RatioBound)
    assert (found.at_least, found.at_most) == (None, pytest.approx(12 / 29))
    assert found.sentence.endswith("at most 0.5 times as many epochs")  # rounded up: still true


def test_a_whole_tenth_is_not_rounded_away():
    found = crossing_ratio(Crossings("baseline", (None,), 23), Crossings("BN", (10,), 23))
    assert found.sentence.endswith("at least 2.3 times as many epochs")


def test_two_arms_that_both_miss_have_no_bound():
    found = crossing_ratio(Crossings("a", (9, None), 30), Crossings("b", (None, 8), 30))
    assert isinstance(found, RatioBound)
    assert (found.at_least, found.at_most) == (None, None)
    assert found.sentence.endswith("no bound on their ratio")


def test_arms_with_different_horizons_have_no_ratio():
    with pytest.raises(ValueError, match="cut both to one horizon"):
        crossing_ratio(Crossings("baseline", (None,), 15), FAST)
