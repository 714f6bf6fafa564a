"""Values with their intervals in words, in the unit of their measure."""

from __future__ import annotations

from training.studies.statistics.intervals import Estimate
from training.studies.statistics.scores import unit_of


def effect_size(smallest: float, measure: str) -> str:
    """Return a smallest effect of interest in its measure's unit, such as `1 point`."""
    if unit_of(measure) != "share":
        return f"{smallest:.3g}"
    points = f"{100 * smallest:g}"
    return f"{points} point" if points == "1" else f"{points} points"


def words(estimate: Estimate, measure: str, *, difference: bool = True) -> str:
    """Return a value with its interval; accuracies and gaps in per cent, differences in points."""
    percent = unit_of(measure) == "share"
    scale, digits = (100, 2) if percent else (1, 3)
    unit = "" if not percent else " points" if difference else " %"

    def number(value: float) -> str:
        return f"{scale * value:.{digits}f}" if percent else f"{value:.{digits}g}"

    if not estimate.has_interval:
        return f"{number(estimate.value)}{unit} (a single run, no interval)"
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]{unit}"
