"""The middle of a few measurements and how far they lie apart."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable


class Spread(TypedDict):
    """Median, smallest and largest of `n` values."""

    median: float
    min: float
    max: float
    n: int


def spread(values: Iterable[float], digits: int = 3) -> Spread | None:
    """Return the spread of some values, or None where there are none."""
    known = list(values)
    if not known:
        return None
    return {
        "median": round(statistics.median(known), digits),
        "min": round(min(known), digits),
        "max": round(max(known), digits),
        "n": len(known),
    }
