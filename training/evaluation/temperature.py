"""Temperature scaling: one number that makes a network's probabilities mean what they say.

    p = softmax(z / T)        T > 1 for a network that is too sure of itself, T < 1 for one that is
                              not sure enough, as label smoothing leaves it

The answer, the largest logit's class, stays. T is fitted by the loss alone: a calibration error has
bins, and steps where an image changes its bin.

Reference:
    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from training.evaluation.metrics import log_softmax

LARGEST_LOG = 3.0  # |log T|; beyond, a network needs another training


def mean_loss(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Return the mean cross-entropy of logits (N, C) at a temperature, class indices (N,)."""
    scores = log_softmax(logits.astype(np.float64) / temperature)
    return float(-scores[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the temperature at which the loss of logits (N, C) is smallest.

    The loss is convex in 1 / T, so there is one such temperature.
    """
    found = minimize_scalar(
        lambda log_t: mean_loss(logits, labels, math.exp(log_t)),
        bounds=(-LARGEST_LOG, LARGEST_LOG),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return math.exp(float(found.x))
