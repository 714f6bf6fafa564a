"""Mean and spread of one figure over several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """Mean and spread over n runs; a single run has no spread."""

    n: int
    mean: float
    standard_deviation: float | None  # of one run, with n - 1
    standard_error: float | None  # of the mean
    smallest: float
    largest: float


def statistics_of(values: Sequence[float]) -> Statistics:
    """Return the statistics of at least one value."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Statistics(
        n=len(values),
        mean=statistics.fmean(values),
        standard_deviation=spread,
        standard_error=None if spread is None else spread / math.sqrt(len(values)),
        smallest=min(values),
        largest=max(values),
    )
