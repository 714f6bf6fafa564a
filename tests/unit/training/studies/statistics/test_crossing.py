"""Epochs to a threshold, and runs that never got there."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.crossing import (
    Crossings,
    first_crossing,
    permutation_p,
    survival,
)

DIPS = [53.5, 67.6, 58.0, 71.3, 56.6, 79.1, 77.3, 75.0]  # a curve with dips, in percent


def test_the_crossing_is_where_a_mean_of_three_ends():
    # Means of three: 59.7, 65.6, 62.0, 69.0, 71.0, 77.1
    assert first_crossing(range(1, 9), DIPS, 70) == 7
    assert first_crossing(range(1, 9), DIPS, 77) == 8


def test_a_single_lucky_evaluation_is_no_crossing():
    assert first_crossing(range(1, 9), DIPS, 79) is None
    assert first_crossing(range(1, 9), DIPS, 79, window=1) == 6


def test_the_epochs_may_be_halves():
    assert first_crossing([0.5, 1.0, 1.5, 2.0], [0.2, 0.6, 0.6, 0.6], 0.6) == 2.0


def test_a_mean_on_the_threshold_has_reached_it_whatever_its_rounding():
    accuracies = [0.69, 0.70, 0.71]
    assert first_crossing([1, 2, 3], [a + 1e-15 for a in accuracies], 0.70) == 3
    assert first_crossing([1, 2, 3], [a - 1e-15 for a in accuracies], 0.70) == 3
    assert first_crossing([1, 2, 3], [a - 1e-4 for a in accuracies], 0.70) is None


def test_fewer_evaluations_than_the_window_never_cross():
    assert first_crossing([1, 2], [1.0, 1.0], 0.5) is None
    assert first_crossing([], [], 0.5) is None


@pytest.mark.parametrize(
    ("epochs", "window", "reason"),
    [([1, 2], 3, "2 epochs and 3"), ([1, 3, 3], 3, "must increase"), ([1, 2, 3], 0, "window is 0")],
)
def test_a_curve_that_is_none_is_refused(epochs, window, reason):
    with pytest.raises(ValueError, match=reason):
        first_crossing(epochs, [0.1, 0.2, 0.3], 0.2, window)


def test_the_restricted_mean_counts_the_horizon_for_a_run_still_on_its_way():
    arm = Crossings("baseline", (20.0, None, 25.0), 30)
    assert arm.restricted == (20.0, 30, 25.0)
    assert arm.restricted_mean == 25.0
    assert (arm.arrived, arm.all_arrived) == ((20.0, 25.0), False)


def test_an_arm_says_how_many_of_its_runs_arrived_and_when():
    assert Crossings("BN", (9, 12, 10), 30).words == "BN: 3 of 3 within 9 to 12 epochs"
    assert Crossings("BN", (9, 9), 30).words == "BN: 2 of 2 within 9 epochs"
    assert Crossings("baseline", (None, 25), 30).words == "baseline: 1 of 2 within 30 epochs"
    assert Crossings("BN", (None,), 900, "updates").words == "BN: 0 of 1 within 900 updates"


@pytest.mark.parametrize("arrival", [0, -1, 31, math.nan])
def test_an_arrival_outside_the_horizon_is_refused(arrival):
    with pytest.raises(ValueError, match="not in"):
        Crossings("BN", (9, arrival), 30)


def test_an_arm_without_runs_is_refused():
    with pytest.raises(ValueError, match="no runs"):
        Crossings("BN", (), 30)


def test_the_survival_falls_at_arrivals_alone():
    found = survival(Crossings("BN", (9, None, 12, 12), 30))
    assert found.times == (9, 12, 30)
    assert found.shares == pytest.approx((0.75, 0.25, 0.25))
    assert survival(Crossings("BN", (None, None), 30)).shares == (1.0,)
    assert survival(Crossings("BN", (9, 12), 30)).shares == (0.5, 0.0)


def test_four_against_four_apart_is_the_smallest_p_that_eight_runs_can_give():
    slow, fast = Crossings("slow", (None,) * 4, 30), Crossings("fast", (9, 10, 11, 12), 30)
    assert permutation_p(slow, fast) == pytest.approx(2 / math.comb(8, 4))


def test_the_p_is_the_share_of_deals_at_least_as_far_apart():
    a, b = (9.0, 14.0, 15.0, 21.0, 30.0), (12.0, 22.0, 28.0, 30.0)
    everyone = np.array([*a, *b])
    differences = []
    for chosen in combinations(range(9), 5):
        mask = np.zeros(9, dtype=bool)
        mask[list(chosen)] = True
        differences.append(everyone[mask].mean() - everyone[~mask].mean())
    observed = np.mean(a) - np.mean(b)
    below = np.mean(np.array(differences) <= observed + 1e-9)
    above = np.mean(np.array(differences) >= observed - 1e-9)
    ours = permutation_p(Crossings("a", (*a[:4], None), 30), Crossings("b", (*b[:3], None), 30))
    assert ours == pytest.approx(2 * min(below, above))


def test_three_runs_an_arm_have_no_permutation_test():
    three, five = Crossings("slow", (None,) * 3, 30), Crossings("fast", (9, 10, 11, 12, 13), 30)
    assert permutation_p(three, five) is None


def test_many_runs_are_sampled_and_give_the_same_p_twice():
    slow = Crossings("slow", tuple(range(11, 21)), 30)
    fast = Crossings("fast", tuple(range(8, 18)), 30)
    first = permutation_p(slow, fast)
    assert first == permutation_p(slow, fast)
    assert first == pytest.approx(stats.ttest_ind(slow.arrivals, fast.arrivals).pvalue, abs=0.02)


def test_arms_with_different_horizons_are_not_compared():
    with pytest.raises(ValueError, match="cut both to one horizon"):
        permutation_p(Crossings("a", (9,), 30), Crossings("b", (9,), 15))
    with pytest.raises(ValueError, match="cut both to one horizon"):
        permutation_p(Crossings("a", (9,), 30), Crossings("b", (9,), 30, "updates"))
