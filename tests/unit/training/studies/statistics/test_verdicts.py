"""Verdicts by the interval alone."""

import math

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.contrasts import contrast, paired
from training.studies.statistics.intervals import Estimate, mean_interval
from training.studies.statistics.verdicts import (
    STANDINGS,
    Standing,
    Verdict,
    equivalence_p,
    paired_equivalence_p,
    standing,
    verdict,
)

A, B = [0.750, 0.752, 0.756], [0.751, 0.749, 0.757]


def between(low, high):
    return Estimate((low + high) / 2, low, high, 4.0, 0.5, 6)


@pytest.mark.parametrize(
    ("low", "high", "positive", "negative", "equal"),
    [
        (0.02, 0.05, "supported", "contradicted", "contradicted"),
        (-0.05, -0.02, "contradicted", "supported", "contradicted"),
        (-0.005, 0.009, "practically equal", "practically equal", "practically equal"),
        (0.001, 0.009, "practically equal", "practically equal", "practically equal"),
        (0.005, 0.05, "undecided", "undecided", "undecided"),
        (-0.05, 0.05, "undecided", "undecided", "undecided"),
        (0.01, 0.05, "undecided", "undecided", "undecided"),
        (-0.01, 0.005, "undecided", "undecided", "undecided"),
    ],
)
def test_the_interval_decides(low, high, positive, negative, equal):
    found = [verdict(between(low, high), 0.01, sign) for sign in ("+", "-", "=")]
    assert found == [positive, negative, equal]


def test_a_small_p_alone_decides_nothing():
    significant = Estimate(0.008, 0.003, 0.013, 20.0, 0.003, 22)
    assert verdict(significant, 0.01, "+") is Verdict.UNDECIDED


def test_a_single_run_is_undecided():
    assert verdict(mean_interval([0.3]), 0.01, "+") is Verdict.UNDECIDED
    assert verdict(Estimate(0, -math.inf, math.inf, 0, None, 1), 1e9, "=") is Verdict.UNDECIDED


@pytest.mark.parametrize("smallest", [0, -0.01, math.nan])
def test_a_smallest_effect_of_nothing_is_refused(smallest):
    with pytest.raises(ValueError, match="must be above 0"):
        verdict(between(0.1, 0.2), smallest, "+")


def test_every_verdict_has_a_word_for_the_page_of_claims():
    assert set(STANDINGS) == {None, *Verdict}
    assert set(STANDINGS.values()) == set(Standing)
    assert standing(Verdict.SUPPORTED) == "reproduced"
    assert standing(Verdict.CONTRADICTED) == "not reproduced"
    assert standing(None) == "not measured"


def test_the_equivalence_p_is_the_larger_of_two_welch_tests():
    lower = stats.ttest_ind(np.add(A, 0.01), B, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(np.subtract(A, 0.01), B, equal_var=False, alternative="less").pvalue
    assert equivalence_p(A, B, 0.01) == pytest.approx(max(lower, upper))


def test_the_paired_equivalence_p_is_the_larger_of_two_paired_tests():
    differences = np.subtract(A, B)
    lower = stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue
    upper = stats.ttest_1samp(differences, 0.01, alternative="less").pvalue
    assert paired_equivalence_p(A, B, 0.01) == pytest.approx(max(lower, upper))


@pytest.mark.parametrize("smallest", [0.004, 0.006, 0.008, 0.01, 0.02])
def test_practically_equal_means_a_p_below_a_fortieth(smallest):
    welch = verdict(contrast({"a": A, "b": B}, {"a": 1, "b": -1}), smallest, "=")
    pairs = verdict(paired(A, B), smallest, "=")
    assert (welch is Verdict.PRACTICALLY_EQUAL) == (equivalence_p(A, B, smallest) < 0.025)
    assert (pairs is Verdict.PRACTICALLY_EQUAL) == (paired_equivalence_p(A, B, smallest) < 0.025)


def test_without_a_spread_there_is_no_equivalence_p():
    assert equivalence_p([0.75], B, 0.01) is None
    assert equivalence_p([0.1, 0.1], [0.1, 0.1], 0.01) is None
    assert paired_equivalence_p([0.75], [0.76], 0.01) is None
    assert paired_equivalence_p([0.3, 0.4], [0.3, 0.4], 0.01) is None
    assert equivalence_p(A, [0.75, 0.75, 0.75], 0.01) is not None
