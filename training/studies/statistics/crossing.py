"""When a learning curve reaches a threshold, and whether it does within the horizon.

A run arrives at the first epoch at which the mean of three consecutive evaluations, ending there,
is at least the threshold. A first crossing of single evaluations is a maximum of their noise and
comes too early. A threshold within the noise of a plateau measures that noise: choose another.

All runs of a study are watched up to the same horizon H, so every censoring is at H. Kaplan and
Meier's estimate is then the empirical distribution, and the restricted mean that of min(T, H).

Reference:
    Kaplan and Meier 1958, JASA 53. Royston and Parmar 2013, BMC Medical Research Methodology 13,
    on restricted means.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

WINDOW = 3  # evaluations
TIE = 1e-9  # a mean this far below the threshold has reached it; one image of 10,000 is 1e-4
SMALLEST_ARM = 4  # runs; 3 against 3 cannot give a two-sided p below 0.10
MAX_EXACT = 20_000  # ways to deal the runs to two arms; 8 against 8 has 12,870


@dataclass(frozen=True)
class Crossings:
    """When each run of one arm arrived, None for a run that had not by the horizon.

    The unit is that of the clock: epochs, updates or images.

    Raises:
        ValueError: there is no run, or an arrival is not in (0, horizon].
    """

    arm: str
    arrivals: tuple[float | None, ...]
    horizon: float
    unit: str = "epochs"

    def __post_init__(self) -> None:
        if not self.arrivals:
            raise ValueError(f"{self.arm} has no runs")
        for arrival in self.arrived:
            if not 0 < arrival <= self.horizon:
                raise ValueError(f"{self.arm} arrived at {arrival:g}, not in (0, {self.horizon:g}]")

    @property
    def arrived(self) -> tuple[float, ...]:
        """When those that arrived did."""
        return tuple(arrival for arrival in self.arrivals if arrival is not None)

    @property
    def all_arrived(self) -> bool:
        """Whether no run is censored."""
        return len(self.arrived) == len(self.arrivals)

    @property
    def restricted(self) -> tuple[float, ...]:
        """min(T, H) of each run: how long it was on its way while it was watched."""
        return tuple(self.horizon if arrival is None else arrival for arrival in self.arrivals)

    @property
    def restricted_mean(self) -> float:
        """Mean of min(T, H), which is at most the mean of T."""
        return statistics.fmean(self.restricted)

    @property
    def words(self) -> str:
        """Such as `BN: 3 of 3 within 9 to 12 epochs`, or `baseline: 0 of 3 within 30`."""
        count = f"{self.arm}: {len(self.arrived)} of {len(self.arrivals)} within"
        if not self.all_arrived:
            return f"{count} {self.horizon:g} {self.unit}"
        first, last = min(self.arrived), max(self.arrived)
        between = f"{last:g}" if first == last else f"{first:g} to {last:g}"
        return f"{count} {between} {self.unit}"


@dataclass(frozen=True)
class Survival:
    """Share of runs still on their way: from `times[i]` on it is `shares[i]`, before them 1."""

    times: tuple[float, ...]
    shares: tuple[float, ...]


def first_crossing(
    epochs: Sequence[float],
    accuracies: Sequence[float],
    threshold: float,
    window: int = WINDOW,
) -> float | None:
    """Return the first epoch at which the last `window` evaluations average the threshold, or None.

    Args:
        epochs: When each evaluation was, increasing.
        accuracies: What it gave; a run that diverged ends early.
        threshold: In the unit of the accuracies.
        window: Evaluations to average; no epoch before the window is full counts.

    Raises:
        ValueError: lengths differ, epochs do not increase, or the window is below 1.
    """
    if len(epochs) != len(accuracies):
        raise ValueError(f"there are {len(epochs)} epochs and {len(accuracies)} accuracies")
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError("epochs must increase from one evaluation to the next")
    if window < 1:
        raise ValueError(f"the window is {window}; at least one evaluation is needed")
    for last in range(window, len(epochs) + 1):
        if statistics.fmean(accuracies[last - window : last]) >= threshold - TIE:
            return epochs[last - 1]
    return None


def survival(crossings: Crossings) -> Survival:
    """Return Kaplan and Meier's estimate of the runs still on their way."""
    censored = [crossings.horizon for arrival in crossings.arrivals if arrival is None]
    data = stats.CensoredData(uncensored=crossings.arrived, right=censored)
    steps = stats.ecdf(data).sf
    return Survival(tuple(map(float, steps.quantiles)), tuple(map(float, steps.probabilities)))


def permutation_p(a: Crossings, b: Crossings) -> float | None:
    """Return the two-sided p of equal restricted means, None below four runs an arm.

    Every way to deal the runs to the arms is tried up to eight runs an arm, 9,999 of them above.

    Raises:
        ValueError: the arms were watched up to different horizons.
    """
    require_one_horizon(a, b)
    sizes = len(a.arrivals), len(b.arrivals)
    if min(sizes) < SMALLEST_ARM:
        return None
    result = stats.permutation_test(
        (a.restricted, b.restricted),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        vectorized=True,
        n_resamples=np.inf if math.comb(sum(sizes), sizes[0]) <= MAX_EXACT else 9_999,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def require_one_horizon(a: Crossings, b: Crossings) -> None:
    """Check that two arms can be compared.

    Raises:
        ValueError: they were watched up to different horizons, or in different units.
    """
    if (a.horizon, a.unit) != (b.horizon, b.unit):
        raise ValueError(
            f"{a.arm} was watched for {a.horizon:g} {a.unit} and {b.arm} for {b.horizon:g} {b.unit}"
            "; cut both to one horizon"
        )
