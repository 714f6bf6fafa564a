"""The measures of a run by their names, and what a run that diverged scores in each.

A run that diverged stands in every comparison with the score of a guess: an accuracy of 1 in 10, no
gap between training and test images. Other measures have no such score, so what they say of a cell
with such a run is left undecided.
"""

from __future__ import annotations

import re
from typing import Literal

from training.studies.statistics.cells import CHANCE

ACCURACIES = (
    "test_accuracy_last_fifth",
    "precise_accuracy_last_fifth",
    "test_accuracy_last",
    "test_accuracy_best",
)
OTHERS = (
    "precise_gain_last_fifth",
    "best_epoch",
    "train_accuracy_last",
    "train_loss_last",
    "seconds_per_epoch",
)
AT_POINT = re.compile(r"(?:train_accuracy|test_accuracy|train_test_gap)_at_\w+")
PROBED = re.compile(r"(?:final|late)_\w[\w.]*")
ARRIVAL = re.compile(r"(?:epochs_to|first_epoch_at)_[0-9.]+")

Unit = Literal["share", "epochs", "seconds", "other"]


def is_measure(name: str) -> bool:
    """Return whether a run can have a measure of that name."""
    return name in ACCURACIES + OTHERS or any(
        pattern.fullmatch(name) for pattern in (AT_POINT, PROBED, ARRIVAL)
    )


def unit_of(name: str) -> Unit:
    """Return the unit of a measure; shares of 1 are shown as per cent and points."""
    if ARRIVAL.fullmatch(name) or name == "best_epoch":
        return "epochs"
    if any(word in name for word in ("accuracy", "gap", "gain")):
        return "share"
    return "seconds" if name == "seconds_per_epoch" else "other"


def score_of_chance(name: str) -> float | None:
    """Return what a run that diverged scores; None where nothing can be said."""
    if name in ACCURACIES or (AT_POINT.fullmatch(name) and "accuracy" in name):
        return CHANCE
    return 0.0 if AT_POINT.fullmatch(name) else None
