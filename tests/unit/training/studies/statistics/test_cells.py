"""Cells, and runs that diverged."""

import pytest
from scipy import stats

from training.studies.statistics.cells import cell_of, summary_of


def test_a_cell_does_not_depend_on_the_order_of_its_factors():
    one = cell_of({"norm": "none", "dropout": "on"})
    assert one == cell_of({"dropout": "on", "norm": "none"})
    assert one != cell_of({"norm": "none", "dropout": "off"})


def test_a_cell_whose_runs_all_trained_has_the_mean_of_them():
    summary = summary_of([0.7, 0.8, 0.75])
    low, high = stats.ttest_1samp([0.7, 0.8, 0.75], 0).confidence_interval(0.95)
    assert summary.words == "3 of 3 trained"
    assert summary.mean is not None
    assert (summary.mean.low, summary.mean.high) == pytest.approx((low, high))


def test_a_run_that_diverged_scores_chance_and_leaves_its_cell_without_a_mean():
    summary = summary_of([0.7, None, 0.75])
    assert summary.scores == (0.7, 0.1, 0.75)
    assert summary.diverged == (False, True, False)
    assert (summary.words, summary.mean) == ("2 of 3 trained", None)


def test_a_cell_whose_runs_all_diverged_stands_at_chance():
    summary = summary_of([None, None], chance=0.01)
    assert summary.words == "0 of 2 trained"
    assert summary.mean is not None
    assert (summary.mean.low, summary.mean.value, summary.mean.high) == (0.01, 0.01, 0.01)


def test_a_run_that_trained_to_chance_is_not_one_that_diverged():
    assert summary_of([0.1, 0.1]).words == "2 of 2 trained"
