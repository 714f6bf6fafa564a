"""The least-squares check against scipy, numpy and Welch."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from training.studies.statistics.cells import cell_of
from training.studies.statistics.contrasts import contrast
from training.studies.statistics.least_squares import Row, least_squares_check

A, B = [0.741, 0.768, 0.752], [0.701, 0.655, 0.620]
NONE, BATCH = cell_of({"norm": "none"}), cell_of({"norm": "batch"})
TWO_ARMS = [
    *(Row({"norm": "batch"}, seed, y) for seed, y in enumerate(A)),
    *(Row({"norm": "none"}, seed, y) for seed, y in enumerate(B)),
]


def factorial(seeds=3):
    """Return the rows of 2 x 3 cells, their values by cell, and an interaction's weights."""
    random = np.random.default_rng(5)
    rows = [
        Row({"learning-rate": rate, "norm": norm}, seed, float(random.normal()) + seed)
        for rate, norm, seed in product(("low", "high"), ("none", "batch", "group"), range(seeds))
    ]
    cells = {}
    for row in rows:
        cells.setdefault(cell_of(row.levels), []).append(row.y)
    weights = dict.fromkeys(cells, 0.0)
    for rate, norm in product(("low", "high"), ("none", "batch")):
        sign = 1.0 if (rate == "low") == (norm == "none") else -1.0
        weights[cell_of({"norm": norm, "learning-rate": rate})] = sign
    return rows, cells, weights


def test_two_arms_in_blocks_of_seeds_are_the_paired_t_test():
    ours = least_squares_check(TWO_ARMS, {BATCH: 1, NONE: -1})
    theirs = stats.ttest_rel(A, B)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert (ours.p, ours.degrees_of_freedom, ours.n) == (pytest.approx(theirs.pvalue), 2, 6)


def test_in_a_balanced_design_the_value_is_that_of_the_contrast():
    rows, cells, weights = factorial()
    assert least_squares_check(rows, weights).value == pytest.approx(contrast(cells, weights).value)


def test_the_residuals_are_those_of_cells_and_seeds():
    rows, cells, weights = factorial()
    y = np.array([*cells.values()])  # (6 cells, 3 seeds)
    residual = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
    error = math.sqrt((residual**2).sum() / 10 * 4 / 3)  # four weights of 1, three runs each
    ours = least_squares_check(rows, weights)
    assert ours.degrees_of_freedom == 10
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, 10) * error)


def test_with_a_run_missing_the_seeds_are_still_taken_out():
    rows, _, weights = factorial()
    shifted = [Row(row.levels, row.seed, row.y + 100 * row.seed) for row in rows]
    for missing in range(len(rows)):
        kept = [i for i in range(len(rows)) if i != missing]
        plain = least_squares_check([rows[i] for i in kept], weights)
        moved = least_squares_check([shifted[i] for i in kept], weights)
        assert moved.value == pytest.approx(plain.value)


def test_a_single_seed_leaves_no_residuals_and_no_interval():
    rows, cells, weights = factorial(seeds=1)
    ours = least_squares_check(rows, weights)
    assert ours.value == pytest.approx(contrast(cells, weights).value)
    assert (ours.low, ours.high, ours.p) == (-math.inf, math.inf, None)


def test_a_factor_with_one_level_changes_nothing():
    fixed = [Row({**row.levels, "width": "64"}, row.seed, row.y) for row in TWO_ARMS]
    weights = {
        cell_of({"norm": "batch", "width": "64"}): 1.0,
        cell_of({"norm": "none", "width": "64"}): -1.0,
    }
    assert least_squares_check(fixed, weights) == least_squares_check(
        TWO_ARMS, {BATCH: 1, NONE: -1}
    )


def test_a_cell_without_runs_and_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="has no runs"):
        least_squares_check(TWO_ARMS, {BATCH: 1, cell_of({"norm": "group"}): -1})
    with pytest.raises(ValueError, match="same factors"):
        least_squares_check([*TWO_ARMS, Row({"rate": "low"}, 0, 0.5)], {BATCH: 1, NONE: -1})
    with pytest.raises(ValueError, match="no factor has two levels"):
        least_squares_check(TWO_ARMS[:3], {BATCH: 1, NONE: -1})
