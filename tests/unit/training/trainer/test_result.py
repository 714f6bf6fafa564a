"""Statistics over seeds, and how they are reported."""

import pytest

from training.trainer.console import run_report, runs_report
from training.trainer.result import Outcome, statistics_of


def outcome(seed, single, six, before=None, seconds=100.0):
    return Outcome(seed, 20, single, six, before, seconds)


def test_the_deviation_is_that_of_a_sample_and_the_error_that_of_the_mean():
    figures = statistics_of([1.0, 2.0, 3.0, 6.0])
    assert (figures.n, figures.mean) == (4, 3.0)
    assert figures.standard_deviation == pytest.approx((14 / 3) ** 0.5)  # n - 1
    assert figures.standard_error == pytest.approx((14 / 3) ** 0.5 / 2)
    assert (figures.smallest, figures.largest) == (1.0, 6.0)


def test_one_run_has_no_spread():
    figures = statistics_of([0.94])
    assert (figures.mean, figures.standard_deviation, figures.standard_error) == (0.94, None, None)


def test_a_runs_report_has_both_accuracies_and_the_phases():
    report = run_report(outcome(7, 0.9321, 0.9402, before=0.93), {"build": 3.0, "prepare": 4.25})
    assert report.splitlines() == [
        "seed 7: test accuracy single view 93.21% (93.00% before recalibration), six views 94.02%",
        "build 3.0 s  prepare 4.2 s  train 100.0 s",
    ]
    assert "recalibration" not in run_report(outcome(7, 0.9, 0.9), {})


def test_the_report_of_several_has_n_mean_deviation_and_error():
    report = runs_report([outcome(0, 0.93, 0.94), outcome(1, 0.94, 0.95)])
    assert report.splitlines()[0] == (
        "single view, % n 2  mean 93.50  std 0.71  s.e. 0.50  93.00 to 94.00"
    )
    assert [line.split(" n ")[0].strip() for line in report.splitlines()] == [
        "single view, %",
        "six views, %",
        "train, s",
    ]
