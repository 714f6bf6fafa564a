"""How many times as long one arm takes to a threshold as another, or how many times at least.

Where every run of both arms arrived: log T of each run, Welch's interval of the difference of their
means, exponentiated; a ratio of geometric means. Where a run had not arrived by the horizon H, its
T is above H and no mean exists; H is never put in its place. What holds then is a bound on every
pair of one run of each arm:

    all of the fast arm arrived    T_slow / T_fast  >=  min(min(T, H) of slow) / max(T of fast)
    all of the slow arm arrived    T_slow / T_fast  <=  max(T of slow) / min(min(T, H) of fast)

A T is known to one step between evaluations. Arms whose runs all arrive at the same evaluation have
a ratio without width, which says no more than that: evaluate more often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from training.studies.statistics.contrasts import contrast
from training.studies.statistics.crossing import Crossings, require_one_horizon
from training.studies.statistics.intervals import Estimate


@dataclass(frozen=True)
class CrossingRatio:
    """T of the slow arm over T of the fast arm, every run of which arrived."""

    estimate: Estimate  # a ratio; p is that of the ratio being 1
    sentence: str


@dataclass(frozen=True)
class RatioBound:
    """What holds of T_slow / T_fast for every pair of runs; None where no bound follows."""

    at_least: float | None
    at_most: float | None
    sentence: str


def crossing_ratio(slow: Crossings, fast: Crossings) -> CrossingRatio | RatioBound:
    """Return the ratio with its interval, or a bound where a run had not arrived.

    Which arm is called slow is a guess; the ratio may come out below 1.

    Raises:
        ValueError: the arms were watched up to different horizons.
    """
    require_one_horizon(slow, fast)
    arms = f"{fast.words}; {slow.words}"
    if slow.all_arrived and fast.all_arrived:
        estimate = _ratio_of_means(slow, fast)
        return CrossingRatio(estimate, f"{arms}; {_ratio_words(estimate, slow.unit)}")
    at_least = min(slow.restricted) / max(fast.arrived) if fast.all_arrived else None
    at_most = max(slow.arrived) / min(fast.restricted) if slow.all_arrived else None
    return RatioBound(at_least, at_most, f"{arms}; {_bound_words(at_least, at_most, slow.unit)}")


def _ratio_of_means(slow: Crossings, fast: Crossings) -> Estimate:
    logs = {"slow": [*map(math.log, slow.arrived)], "fast": [*map(math.log, fast.arrived)]}
    log_ratio = contrast(logs, {"slow": 1.0, "fast": -1.0})
    return replace(
        log_ratio,
        value=math.exp(log_ratio.value),
        low=math.exp(log_ratio.low),
        high=math.exp(log_ratio.high),
    )


def _ratio_words(ratio: Estimate, unit: str) -> str:
    if not ratio.has_interval:
        return f"{ratio.value:.2g} times as many {unit}, a single run without an interval"
    if ratio.p is None:
        return f"{ratio.value:.2g} times as many {unit}, the runs of each alike"
    return f"{ratio.value:.2g} times as many {unit}, {ratio.low:.2g} to {ratio.high:.2g}"


def _bound_words(at_least: float | None, at_most: float | None, unit: str) -> str:
    """Round a bound away from what it excludes, so that the sentence stays true."""
    if at_least is not None:
        return f"at least {math.floor(10 * at_least) / 10:g} times as many {unit}"
    if at_most is not None:
        return f"at most {math.ceil(10 * at_most) / 10:g} times as many {unit}"
    return "no bound on their ratio"
