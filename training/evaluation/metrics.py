"""What is said of a network's answers on a test set, from its logits alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.metrics import CalibrationBin, TestedOn, TestMetrics

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
CALIBRATION_BINS = 15
TOP = 5
MAX_CONFUSION_CLASSES = 100  # the matrix of 1,000 classes would be a manifest of megabytes


def measure(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
    tested_on: TestedOn | None = None,
) -> TestMetrics:
    """Return every metric of logits (N, C) against class indices (N,)."""
    log_probabilities = log_softmax(logits.astype(np.float64))
    predicted = logits.argmax(axis=1)
    right = predicted == labels
    confidence = np.exp(log_probabilities.max(axis=1))
    confusion = confusion_matrix(predicted, labels, len(names))
    top5 = within_top(logits, labels, TOP) if len(names) > TOP else None
    return TestMetrics(
        images=len(labels),
        correct=int(right.sum()),
        accuracy=float(right.mean()),
        accuracy_interval_95=wilson_interval(int(right.sum()), len(labels)),
        loss=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        expected_calibration_error=expected_calibration_error(confidence, right),
        per_class_accuracy={
            name: float(confusion[index, index] / confusion[index].sum())
            for index, name in enumerate(names)
            if confusion[index].any()
        },
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in confusion)
        if len(names) <= MAX_CONFUSION_CLASSES
        else (),
        correct_bits=base64.b64encode(np.packbits(right).tobytes()).decode("ascii"),
        calibration=calibration_bins(confidence, right),
        top5_accuracy=None if top5 is None else float(top5.mean()),
        top5_interval_95=() if top5 is None else wilson_interval(int(top5.sum()), len(labels)),
        tested_on=tested_on,
    )


def within_top(
    logits: NDArray[np.float32], labels: NDArray[np.int64], count: int
) -> NDArray[np.bool_]:
    """Return (N,) whether fewer than `count` logits (N, C) are above the true class's.

    Of equal logits the lower index goes first, as in the order of the answers.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    before = (logits > own) | ((logits == own) & earlier)
    within: NDArray[np.bool_] = before.sum(axis=1) < count
    return within


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion.

    Reference:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share = successes / trials
    denominator = 1 + Z_95**2 / trials
    centre = (share + Z_95**2 / (2 * trials)) / denominator
    spread = math.sqrt(share * (1 - share) / trials + Z_95**2 / (4 * trials**2))
    half_width = Z_95 * spread / denominator
    return centre - half_width, centre + half_width


def calibration_bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> tuple[CalibrationBin, ...]:
    """Return equal-width bins (i / bins, (i + 1) / bins] of confidence (N,), empty ones too."""
    which = bins_of(confidence, bins)
    counts = np.bincount(which, minlength=bins)
    sums, hits = (np.bincount(which, each, bins) for each in (confidence, right))
    return tuple(
        CalibrationBin(
            low=index / bins,
            high=(index + 1) / bins,
            count=int(count),
            confidence=float(sums[index] / count) if count else None,
            accuracy=float(hits[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    )


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins, by their share.

    Reference:
        Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    gaps = np.zeros(bins)
    np.add.at(gaps, bins_of(confidence, bins), confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))


def bins_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Return (N,) the bin (i / bins, (i + 1) / bins] of each confidence (N,)."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def confusion_matrix(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return the counts (C, C), true class by row and predicted class by column."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix
