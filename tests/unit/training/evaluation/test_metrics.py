"""Metrics against definitions worked by hand, and against scipy where it has them."""

import numpy as np
import pytest
from scipy.stats import binomtest

from models.metrics import CalibrationBin
from training.evaluation.metrics import (
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    log_softmax,
    measure,
    wilson_interval,
    within_top,
)

NAMES = ("cat", "dog", "frog")
LOGITS = np.log(
    np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
).astype(np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_accuracy_loss_and_classes_are_those_of_the_definition():
    metrics = measure(LOGITS, LABELS, NAMES)
    assert (metrics.images, metrics.correct, metrics.accuracy) == (4, 3, 0.75)
    assert metrics.loss == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.6]).mean(), rel=1e-6)
    assert metrics.per_class_accuracy == {"cat": 1.0, "dog": 0.5, "frog": 1.0}
    assert metrics.confusion_matrix == ((1, 0, 0), (1, 1, 0), (0, 0, 1))


def test_the_bits_tell_which_image_was_right():
    assert measure(LOGITS, LABELS, NAMES).correct_mask().tolist() == [True, True, False, True]


@pytest.mark.parametrize(("right", "of"), [(0, 10), (10, 10), (7, 20), (8650, 10_000)])
def test_the_interval_is_wilsons(right, of):
    expected = binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_share():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, right, bins=10) == pytest.approx(
        (abs(1.9 - 1) + abs(1.1 - 2)) / 4
    )


def test_perfect_calibration_has_no_error_and_overconfidence_has():
    right = np.arange(100) < 75
    assert expected_calibration_error(np.full(100, 0.75), right) == pytest.approx(0)
    assert expected_calibration_error(np.full(100, 0.95), right) == pytest.approx(0.2)


def test_rows_of_the_confusion_matrix_are_true_classes():
    matrix = confusion_matrix(np.array([1, 1, 0]), np.array([0, 0, 0]), 2)
    assert matrix.tolist() == [[1, 2], [0, 0]]


def test_log_softmax_survives_huge_logits():
    values = log_softmax(np.array([[1e5, 0.0], [-1e5, 0.0]]))
    assert values.tolist() == [[0.0, -1e5], [-1e5, 0.0]]


def test_bins_hold_what_the_calibration_error_is_computed_from():
    confidence = np.array([0.95, 1.0, 0.5, 0.41])
    right = np.array([True, False, True, True])
    bins = calibration_bins(confidence, right, bins=2)
    assert bins == (
        CalibrationBin(0.0, 0.5, 2, pytest.approx(0.455), 1.0),
        CalibrationBin(0.5, 1.0, 2, pytest.approx(0.975), 0.5),
    )
    error = sum(part.count * abs(part.confidence - part.accuracy) for part in bins) / 4
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx(error)


def test_a_bin_without_answers_has_no_accuracy():
    (empty, _) = calibration_bins(np.array([0.9]), np.array([True]), bins=2)
    assert empty == CalibrationBin(0.0, 0.5, 0, None, None)


def test_a_class_counts_among_the_first_where_fewer_stand_before_it():
    logits = np.array([[3.0, 2.0, 1.0, 0.0]] * 4 + [[1.0, 1.0, 1.0, 1.0]] * 2, np.float32)
    labels = np.array([0, 1, 2, 3, 1, 2])
    assert within_top(logits, labels, 2).tolist() == [True, True, False, False, True, False]


def test_classes_without_an_image_have_no_accuracy_and_a_hundred_and_one_no_matrix():
    names = [str(number) for number in range(101)]
    logits = np.eye(101, dtype=np.float32)[:3]
    metrics = measure(logits, np.array([0, 1, 3]), names)
    assert metrics.per_class_accuracy == {"0": 1.0, "1": 1.0, "3": 0.0}
    assert metrics.confusion_matrix == ()
    assert metrics.top5_accuracy == 1.0  # of equal logits the first ones, and 3 is among them
    assert measure(LOGITS, LABELS, NAMES).top5_accuracy is None
