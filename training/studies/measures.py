"""What a finished run comes to, in numbers: computed from its learning curve and its probes.

    test_accuracy_last_fifth        mean over the last fifth of the epochs, at least three: the
                                    primary measure, since one epoch's accuracy scatters by a point
    precise_accuracy_last_fifth     the same with the batch norms' statistics estimated anew after
                                    each of these epochs; of a network without any, the same number;
                                    of one with some, missing where `probes.precise_bn` is 0
    precise_gain_last_fifth         what that adds to the running averages
    test_accuracy_last              after the last epoch
    test_accuracy_best              the highest of all epochs: a maximum of noise, for comparison
                                    with sources that report one; `best_epoch` is where
    first_epoch_at_0.75             the first epoch whose test accuracy is at least 0.75, as sources
                                    count that look at one run: a maximum of noise, again
    epochs_to_0.75                  the first epoch at which the mean of three consecutive test
                                    accuracies is at least 0.75
                                    (both inf where it never was)
    seconds_per_epoch               median of the training alone
    train_test_gap_at_NAME          what was measured at a point of the recipe's `probes.points`
    final_...                       every other measure of the probes, where it was last measured
    late_...                        its median over the second half of the training, where it was
                                    measured there three times or more

Accuracies and losses are shares and nats; a run that diverged scores chance.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from models.history import EpochRecord
from training.errors import StudyError
from training.studies.statistics.cells import CHANCE
from training.studies.statistics.crossing import WINDOW, first_crossing
from training.studies.statistics.scores import ACCURACIES, AT_POINT
from training.trainer.probes import Measurement

SHORTEST_TAIL = 3  # epochs
LATE_POINTS = 3


def run_measures(
    history: Sequence[EpochRecord],
    measurements: Iterable[Measurement],
    thresholds: Sequence[float],
    *,
    normed: bool = False,
) -> dict[str, float]:
    """Return the measures of a run that has at least one epoch; `normed` is one with batch norm.

    Raises:
        StudyError: PreciseBN was measured after some of the last epochs and not after others.
    """
    whole = [one for one in measurements if not one.layer and one.epoch <= history[-1].epoch]
    raw = [record.test_accuracy for record in history]
    precise = {one.epoch: one.value for one in whole if one.measure == "precise_bn_accuracy"}
    missing = [r.epoch for r in history[-tail_length(history) :] if r.epoch not in precise]
    if precise and missing:
        raise StudyError(
            f"epoch {missing[0]} has no precise_bn_accuracy, and others have one; remove the run's "
            "folder, so that it is trained again"
        )
    adjusted = [precise.get(float(record.epoch), record.test_accuracy) for record in history]
    best = max(range(len(raw)), key=raw.__getitem__)
    measures = {
        "test_accuracy_last_fifth": tail_mean(raw),
        "test_accuracy_last": raw[-1],
        "test_accuracy_best": raw[best],
        "best_epoch": float(history[best].epoch),
        "train_accuracy_last": history[-1].train_accuracy,
        "train_loss_last": history[-1].train_loss,
        "seconds_per_epoch": statistics.median(record.train_seconds for record in history),
    }
    if precise or not normed:
        measures["precise_accuracy_last_fifth"] = tail_mean(adjusted)
    if precise:
        measures["precise_gain_last_fifth"] = tail_mean(adjusted) - tail_mean(raw)
    epochs = [float(record.epoch) for record in history]
    for threshold in thresholds:
        for name, window in (("epochs_to", WINDOW), ("first_epoch_at", 1)):
            arrived = first_crossing(epochs, raw, threshold, window)
            measures[f"{name}_{threshold:g}"] = math.inf if arrived is None else arrived
    return {**measures, **_probed(whole)}


def diverged_measures(thresholds: Sequence[float]) -> dict[str, float]:
    """Return the measures of a run whose loss stopped being a number."""
    names = [f"{name}_{t:g}" for t in thresholds for name in ("epochs_to", "first_epoch_at")]
    return {**dict.fromkeys(ACCURACIES, CHANCE), **dict.fromkeys(names, math.inf)}


def tail_mean(values: Sequence[float]) -> float:
    """Return the mean over the last fifth of the values, at least three; of fewer over all."""
    return statistics.fmean(values[-tail_length(values) :])


def tail_length(epochs: Sequence[object]) -> int:
    """Return of how many epochs the last fifth is."""
    return max(SHORTEST_TAIL, math.ceil(len(epochs) / 5))


def _probed(measurements: Sequence[Measurement]) -> Mapping[str, float]:
    """Return each measure of the whole network at its point, or its last value and late median."""
    at_points = {one.measure: one.value for one in measurements if AT_POINT.fullmatch(one.measure)}
    over_time = [one for one in measurements if one.measure not in at_points]
    half = max((one.epoch for one in over_time), default=0) / 2
    late: dict[str, list[float]] = {}
    for one in over_time:
        if one.epoch >= half:
            late.setdefault(one.measure, []).append(one.value)
    medians = {
        f"late_{name}": statistics.median(values)
        for name, values in late.items()
        if len(values) >= LATE_POINTS
    }
    return {**at_points, **{f"final_{one.measure}": one.value for one in over_time}, **medians}
