"""What a run comes to: means over its end, crossings, and the probes' last word."""

import math
from dataclasses import replace

import pytest

from models.history import EpochRecord
from training.errors import StudyError
from training.studies.measures import diverged_measures, run_measures, tail_mean
from training.trainer.probes import Measurement

RECORD = EpochRecord(1, 1e-3, 1.5, 0.4, 1.4, 0.5, 90.0, 5.0)


def history(*accuracies):
    return [replace(RECORD, epoch=e, test_accuracy=a) for e, a in enumerate(accuracies, 1)]


def test_the_end_of_a_run_is_its_last_fifth_and_at_least_three_epochs():
    assert tail_mean([0.0] * 40 + [1.0] * 10) == 1
    assert tail_mean([0, 0, 1, 1, 1]) == 1
    assert tail_mean([0.25, 0.75]) == 0.5


def test_an_accuracy_is_reached_when_three_epochs_average_it():
    measures = run_measures(history(0.5, 0.9, 0.5, 0.8, 0.8, 0.8), [], [0.7, 0.95])
    assert measures["epochs_to_0.7"] == 4
    assert measures["epochs_to_0.95"] == math.inf


def test_the_best_epoch_is_named_beside_the_last():
    measures = run_measures(history(0.5, 0.9, 0.7), [], [])
    assert (measures["test_accuracy_best"], measures["best_epoch"]) == (0.9, 2)
    assert measures["test_accuracy_last"] == 0.7


def test_probes_give_their_last_value_and_their_late_median():
    points = [Measurement(e / 4, e, "smoothness", float(e)) for e in range(13)]
    points.append(Measurement(2.0, 8, "smoothness", 1e9, "conv1"))  # of a layer
    measures = run_measures(history(0.5, 0.6, 0.7), points, [])
    assert measures["final_smoothness"] == 12
    assert measures["late_smoothness"] == 9


def test_what_was_measured_after_the_horizon_is_not_read():
    points = [Measurement(float(e), e, "x", float(e)) for e in range(1, 9)]
    assert run_measures(history(0.5, 0.6), points, [])["final_x"] == 2


def test_a_diverged_run_scores_chance_in_every_accuracy():
    measures = diverged_measures([0.7])
    assert set(measures.values()) == {0.1, math.inf}
    assert measures["epochs_to_0.7"] == measures["first_epoch_at_0.7"] == math.inf
    assert measures.keys() <= run_measures(history(0.5), [], [0.7]).keys()


def test_seconds_are_the_median_epochs():
    rows = [
        replace(r, train_seconds=s) for r, s in zip(history(1, 1, 1), (90, 95, 400), strict=True)
    ]
    assert run_measures(rows, [], [])["seconds_per_epoch"] == pytest.approx(95)


def test_a_point_is_a_measure_of_its_own():
    points = [Measurement(0.5, 800, "train_test_gap_at_updates", 0.25)]
    measures = run_measures(history(0.5), points, [])
    assert measures["train_test_gap_at_updates"] == 0.25
    assert not any(name.startswith(("final_", "late_")) for name in measures)


def test_a_precise_accuracy_is_never_mixed_with_raw_ones():
    points = [Measurement(1.0, 1, "precise_bn_accuracy", 0.7)]
    with pytest.raises(StudyError, match="epoch 2 has no precise_bn_accuracy"):
        run_measures(history(0.5, 0.6), points, [])
