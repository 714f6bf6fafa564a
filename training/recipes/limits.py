"""The ranges of a recipe's numbers, each with an example of a sound value.

What depends on the dataset, as the largest crop, is checked where the dataset is known:
`training.trainer.networks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

MIN_SIDE = 16  # of images: the networks pool three times and take valid convolutions between


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`; `open_` leaves out the ends that it names."""

    low: float
    high: float = math.inf
    open_: str = ""  # "low", "high" or "low high"

    def __contains__(self, value: float) -> bool:
        above = value > self.low if "low" in self.open_ else value >= self.low
        below = value < self.high if "high" in self.open_ else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        low = f"{'above' if 'low' in self.open_ else 'at least'} {self.low:g}"
        high = f" and {'below' if 'high' in self.open_ else 'at most'} {self.high:g}"
        return low if math.isinf(self.high) else low + high


COUNT = Range(1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, open_="low")
SHARE = Range(0, 1)
SHARE_BELOW_ONE = Range(0, 1, "high")
INNER_SHARE = Range(0, 1, "low high")
END_OF_SHARE = Range(0, 1, "low")
NOTHING = Range(0, 0)


@dataclass(frozen=True)
class Limit:
    """One number of a recipe: its key, its value, its range, and what else to say or do."""

    key: str
    value: float
    range: Range
    remedy: str

    @property
    def complaint(self) -> str | None:
        """What is wrong with the value and what to do, None where nothing is."""
        if self.value in self.range:
            return None
        finite = "" if math.isfinite(self.value) else "finite and "
        return f"{self.key} = {self.value} must be {finite}{self.range}; {self.remedy}"


def limits_of(examples: dict[str, tuple[float, Range, float]], prefix: str = "") -> Iterator[Limit]:
    """Yield limits from key -> (value, range, example)."""
    for key, (value, range_, example) in examples.items():
        yield Limit(f"{prefix}{key}", value, range_, f"write {key} = {example:g}, for example")
