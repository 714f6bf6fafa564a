"""What a finished run comes to, in numbers: computed from its learning curve and its probes.

    test_accuracy_last_fifth        mean over the last fifth of the epochs, at least three: the
                                    primary measure, since one epoch's accuracy scatters by a point
    precise_accuracy_last_fifth     the same with the batch norms' statistics estimated anew after
                                    each of these epochs; of a network without any, the same number
    test_accuracy_last              after the last epoch
    test_accuracy_best              the highest of all epochs: a maximum of noise, for comparison
                                    with sources that report one; `best_epoch` is where
    first_epoch_at_0.75             the first epoch whose test accuracy is at least 0.75, as sources
                                    count that look at one run: a maximum of noise, again
    epochs_to_0.75                  the first epoch at which the mean of three consecutive test
                                    accuracies is at least 0.75; missing where it never was
    seconds_per_epoch               median of the training alone
    final_...                       every measure of the probes, where it was last measured
    late_...                        its median over the second half of the training, where it was
                                    measured there three times or more

Accuracies and losses are shares and nats; a run that diverged scores chance.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from models.history import EpochRecord
from training.studies.statistics.crossing import WINDOW, first_crossing
from training.trainer.probes import Measurement

SHORTEST_TAIL = 3  # epochs
LATE_POINTS = 3
ACCURACIES = (
    "test_accuracy_last_fifth",
    "precise_accuracy_last_fifth",
    "test_accuracy_last",
    "test_accuracy_best",
)


def run_measures(
    history: Sequence[EpochRecord],
    measurements: Iterable[Measurement],
    thresholds: Sequence[float],
) -> dict[str, float]:
    """Return the measures of a run that has at least one epoch."""
    whole = [one for one in measurements if not one.layer and one.epoch <= history[-1].epoch]
    raw = [record.test_accuracy for record in history]
    precise = {one.epoch: one.value for one in whole if one.measure == "precise_bn_accuracy"}
    adjusted = [precise.get(float(record.epoch), record.test_accuracy) for record in history]
    best = max(range(len(raw)), key=raw.__getitem__)
    measures = {
        "test_accuracy_last_fifth": tail_mean(raw),
        "precise_accuracy_last_fifth": tail_mean(adjusted),
        "test_accuracy_last": raw[-1],
        "test_accuracy_best": raw[best],
        "best_epoch": float(history[best].epoch),
        "train_accuracy_last": history[-1].train_accuracy,
        "train_loss_last": history[-1].train_loss,
        "seconds_per_epoch": statistics.median(record.train_seconds for record in history),
    }
    epochs = [float(record.epoch) for record in history]
    for threshold in thresholds:
        for name, window in (("epochs_to", WINDOW), ("first_epoch_at", 1)):
            arrived = first_crossing(epochs, raw, threshold, window)
            if arrived is not None:
                measures[f"{name}_{threshold:g}"] = arrived
    return {**measures, **_probed(whole)}


def diverged_measures(chance: float) -> dict[str, float]:
    """Return the measures of a run whose loss stopped being a number."""
    return dict.fromkeys(ACCURACIES, chance)


def tail_mean(values: Sequence[float]) -> float:
    """Return the mean over the last fifth of the values, at least three; of fewer over all."""
    count = max(SHORTEST_TAIL, math.ceil(len(values) / 5))
    return statistics.fmean(values[-count:])


def _probed(measurements: Sequence[Measurement]) -> Mapping[str, float]:
    """Return the last value of each measure of the whole network, and its late median."""
    half = max((one.epoch for one in measurements), default=0) / 2
    late: dict[str, list[float]] = {}
    for one in measurements:
        if one.epoch >= half:
            late.setdefault(one.measure, []).append(one.value)
    medians = {
        f"late_{name}": statistics.median(values)
        for name, values in late.items()
        if len(values) >= LATE_POINTS
    }
    return {**{f"final_{one.measure}": one.value for one in measurements}, **medians}
