"""An estimate with its 95 % interval, by Student's t.

    low, high = value -+ t(0.975, degrees of freedom) * standard error

With three normal runs this covers 95 %. 1.96 in place of t covers 81 %. A percentile bootstrap of
three runs reaches from the smallest to the largest, which covers 75 %.

A single run has no interval: its bounds are infinite. Runs that are all equal have an interval of
no width and no p, for without spread there is nothing to test against; such a width says that the
runs agree (all diverged, say), not that the next one must.

Reference:
    Student 1908, "The probable error of a mean".
    Colas, Sigaud and Oudeyer 2018, arXiv:1806.08295, on the bootstrap with few seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

CONFIDENCE = 0.95
ROUNDING = 1e-12  # a range below this share of the largest value is float64's rounding, no spread


@dataclass(frozen=True)
class Estimate:
    """A value in the unit of the runs, its interval, and what stands behind it."""

    value: float
    low: float  # -inf without an interval
    high: float  # inf without an interval
    degrees_of_freedom: float  # 0 without an interval
    p: float | None  # two-sided, of the true value being 0; None without a spread
    n: int  # runs, or pairs of runs

    @property
    def has_interval(self) -> bool:
        """Whether the runs tell how uncertain the value is."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the runs of one cell; a single run has no variance."""

    n: int
    mean: float
    variance: float | None  # of one run, with n - 1


def moments_of(values: Sequence[float], largest: float | None = None) -> Moments:
    """Return the moments of at least one value.

    Args:
        values: One a run.
        largest: Absolute size of the numbers that the values were computed from, where that is
            larger than the values: differences of shares are rounded as shares are.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    if not values:
        raise ValueError("there are no values; at least one run is needed")
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"a value is {value}; give a run that diverged the score of chance")
    size = max(map(abs, values)) if largest is None else largest
    mean = float(statistics.mean(values))  # exact, so that equal values are their own mean
    if len(values) == 1:
        return Moments(1, mean, None)
    if max(values) - min(values) <= ROUNDING * size:
        return Moments(len(values), mean, 0.0)
    return Moments(len(values), mean, statistics.variance(values))


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return the mean of the runs with its interval, n - 1 degrees of freedom.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    return interval_of_mean(moments_of(values))


def interval_of_mean(moments: Moments) -> Estimate:
    """Return the interval of the mean that these moments describe."""
    n, mean, variance = moments.n, moments.mean, moments.variance
    if variance is None:
        return without_interval(mean, n)
    return interval(mean, math.sqrt(variance / n), n - 1, n)


def interval(value: float, standard_error: float, degrees_of_freedom: float, n: int) -> Estimate:
    """Return an estimate with the t interval of its standard error; 0 gives no width and no p."""
    if standard_error == 0:
        return Estimate(value, value, value, degrees_of_freedom, None, n)
    reach = float(special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2)) * standard_error
    p = 2 * float(special.stdtr(degrees_of_freedom, -abs(value) / standard_error))
    return Estimate(value, value - reach, value + reach, degrees_of_freedom, p, n)


def without_interval(value: float, n: int) -> Estimate:
    """Return an estimate of which nothing tells how uncertain it is."""
    return Estimate(value, -math.inf, math.inf, 0.0, None, n)
