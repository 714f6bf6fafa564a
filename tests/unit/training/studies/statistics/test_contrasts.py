"""Welch contrasts, paired differences and Holm's correction against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.contrasts import contrast, holm, paired

A = [0.741, 0.768, 0.752]
B = [0.701, 0.655, 0.620, 0.733]
ROUNDING = 1e-9  # two float64 paths to one number


def welch(a, b):
    return contrast({"a": a, "b": b}, {"a": 1, "b": -1})


def test_two_cells_are_scipys_welch_test():
    ours, theirs = welch(A, B), stats.ttest_ind(A, B, equal_var=False)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=ROUNDING)
    assert ours.degrees_of_freedom == pytest.approx(theirs.df, rel=ROUNDING)
    assert ours.p == pytest.approx(theirs.pvalue, rel=ROUNDING)
    assert ours.n == 7


def test_a_pooled_variance_would_be_noticed():
    pooled = stats.ttest_ind(A, B, equal_var=True)
    assert welch(A, B).p != pytest.approx(pooled.pvalue, rel=ROUNDING)
    assert welch(A, B).degrees_of_freedom != pytest.approx(pooled.df, rel=ROUNDING)


def test_four_cells_are_what_the_formula_gives_by_hand():
    cells = {"00": [1.0, 3.0], "01": [4.0, 8.0], "10": [2.0, 2.5, 3.0], "11": [9.0, 10.0]}
    weights = {"00": 1.0, "01": -1.0, "10": -1.0, "11": 1.0}  # an interaction
    # means 2, 6, 2.5, 9.5; variances 2, 8, 0.25, 0.5; v = 1, 4, 0.25 / 3, 0.25
    variance = 1 + 4 + 0.25 / 3 + 0.25
    freedom = variance**2 / (1 + 16 + (0.25 / 3) ** 2 / 2 + 0.0625)
    reach = stats.t.ppf(0.975, freedom) * variance**0.5
    ours = contrast(cells, weights)
    assert ours.value == pytest.approx(2 - 6 - 2.5 + 9.5)
    assert ours.degrees_of_freedom == pytest.approx(freedom)
    assert (ours.low, ours.high) == pytest.approx((3 - reach, 3 + reach))


def test_weights_scale_the_value_and_leave_p():
    double = contrast({"a": A, "b": B}, {"a": 2, "b": -2})
    assert double.value == pytest.approx(2 * welch(A, B).value)
    assert double.high == pytest.approx(2 * welch(A, B).high)
    assert double.p == pytest.approx(welch(A, B).p)


def test_a_cell_with_one_run_takes_the_interval_away():
    single = welch([0.75], B)
    assert single.value == pytest.approx(0.75 - np.mean(B))
    assert (single.low, single.high, single.p, single.n) == (-math.inf, math.inf, None, 5)


def test_a_cell_with_weight_0_is_as_absent():
    assert contrast({"a": A, "b": B, "c": [0.3]}, {"a": 1, "b": -1, "c": 0}) == welch(A, B)


def test_a_cell_without_spread_leaves_the_interval_to_the_other():
    diverged = welch(A, [0.1, 0.1, 0.1])
    low, high = stats.ttest_1samp(A, 0.1).confidence_interval(0.95)
    assert diverged.degrees_of_freedom == pytest.approx(2)
    assert (diverged.low, diverged.high) == pytest.approx((low - 0.1, high - 0.1))
    assert diverged.p == pytest.approx(stats.ttest_1samp(A, 0.1).pvalue)


def test_no_spread_anywhere_is_no_width_and_no_p():
    flat = welch([0.75, 0.75], [0.25, 0.25, 0.25])
    assert (flat.value, flat.low, flat.high) == (0.5, 0.5, 0.5)
    assert (flat.degrees_of_freedom, flat.p) == (3, None)


def test_weights_that_do_not_balance_and_a_cell_without_runs_are_refused():
    with pytest.raises(ValueError, match=r"these to 0\.5"):
        contrast({"a": A, "b": B}, {"a": 1, "b": -0.5})
    with pytest.raises(ValueError, match="all weights are 0"):
        contrast({"a": A, "b": B}, {"a": 0, "b": 0})
    with pytest.raises(ValueError, match="'c', which has no runs"):
        contrast({"a": A, "c": []}, {"a": 1, "c": -1})


def test_pairs_are_scipys_paired_test():
    ours, theirs = paired(A, B[:3]), stats.ttest_rel(A, B[:3])
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=ROUNDING)
    assert (ours.p, ours.degrees_of_freedom) == (pytest.approx(theirs.pvalue, rel=ROUNDING), 2)
    assert ours.n == 3


def test_pairs_that_differ_equally_have_no_p_whatever_their_rounding():
    a, b = [0.75, 0.80, 0.70], [0.70, 0.75, 0.65]
    assert len({x - y for x, y in zip(a, b, strict=True)}) > 1
    assert paired(a, b).p is None
    assert paired(a, b).value == pytest.approx(0.05)
    assert paired([0.1 + 0.2, 0.5], [0.3, 0.5]).p is None


def test_arms_of_different_length_and_empty_ones_are_not_paired():
    with pytest.raises(ValueError, match="3 runs cannot be paired with 4"):
        paired(A, B)
    with pytest.raises(ValueError, match="no values"):
        paired([], [])


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    # sorted: 0.01 * 3, max(0.03, 0.02 * 2), max(0.04, 0.2 * 1)
    assert holm([0.2, 0.01, 0.02]) == pytest.approx([0.2, 0.03, 0.04])
    assert holm([0.01, 0.011]) == pytest.approx([0.02, 0.02])


def test_holm_counts_a_contrast_without_p_as_one_of_the_family():
    corrected = holm([0.01, None, 0.02])
    assert corrected == [pytest.approx(0.03), None, pytest.approx(0.04)]
    assert holm([]) == []
    assert holm([None]) == [None]


def coverage(spreads, studies=800):
    """Return how often the interval of a 2^3's main effect, 3 runs a cell, holds the true 0.

    And how often an interval of 1.96 standard errors does.
    """
    random = np.random.default_rng(3)
    weights = {cell: (0.25 if cell < 4 else -0.25) for cell in range(8)}
    draws = random.normal(size=(studies, 8, 3)) * np.reshape(spreads, (8, 1))
    found = [contrast(dict(enumerate(cells)), weights) for cells in draws.tolist()]
    reach = np.array([one.high - one.value for one in found])
    normal = 1.96 * reach / stats.t.ppf(0.975, [one.degrees_of_freedom for one in found])
    off = np.abs([one.value for one in found])
    return np.mean(off <= reach), np.mean(off <= normal)


# 800 studies: a standard error of 0.8 points at 95 %.
def test_three_runs_a_cell_cover_95_percent_with_equal_spread():
    welch_covers, _ = coverage([0.5] * 8)
    assert 0.925 < welch_covers < 0.985


def test_three_runs_a_cell_cover_95_percent_with_unequal_spread_and_normal_ones_do_not():
    welch_covers, normal_covers = coverage([5, 0.5, 0.5, 0.5, 5, 0.5, 0.5, 0.5])
    assert 0.925 < welch_covers < 0.985
    assert normal_covers < 0.925
