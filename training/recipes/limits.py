"""What a range is, and the check of a recipe against its ranges, which stand at its fields.

What depends on the dataset, as the largest crop, is checked where the dataset is known:
`training.trainer.networks`.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`; `without` names the ends that are left out."""

    low: float
    high: float = math.inf
    without: str = ""  # "low", "high" or "low high"
    example: float = 1

    def __contains__(self, value: float) -> bool:
        above = value > self.low if "low" in self.without else value >= self.low
        below = value < self.high if "high" in self.without else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        low = f"{'above' if 'low' in self.without else 'at least'} {_in_words(self.low)}"
        high = f" and {'below' if 'high' in self.without else 'at most'} {_in_words(self.high)}"
        return low if math.isinf(self.high) else low + high


Share = Annotated[float, Range(0, 1, example=0.2)]
ShareBelowOne = Annotated[float, Range(0, 1, "high", example=0.1)]
InnerShare = Annotated[float, Range(0, 1, "low high", example=0.9)]
EndOfShare = Annotated[float, Range(0, 1, "low", example=1)]
Rate = Annotated[float, Range(0, 1e4, "low", example=1e-3)]
Epsilon = Annotated[float, Range(1e-30, 1, example=1e-7)]  # below, float32 makes it 0
Decay = Annotated[float, Range(0, 1e4, example=1e-6)]
Seed = Annotated[int, Range(0, 2**63 - 1, example=7)]  # what JSON and TOML hold everywhere
Pixels = Annotated[int, Range(0, example=2)]


def _in_words(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def complaints(record: Any, prefix: str = "") -> Iterator[str]:
    """Yield each number out of its range in a dataclass and those inside, with the remedy."""
    hints = typing.get_type_hints(type(record), include_extras=True)
    for entry in dataclasses.fields(record):
        key, value = f"{prefix}{entry.name}", getattr(record, entry.name)
        for allowed in getattr(hints[entry.name], "__metadata__", ()):
            if value not in allowed:
                finite = "" if math.isfinite(value) else "finite and "
                remedy = f"write {entry.name} = {allowed.example:g}, for example"
                yield f"{key} = {value} must be {finite}{allowed}; {remedy}"
        for index, one in enumerate(value if isinstance(value, tuple) else [value]):
            if dataclasses.is_dataclass(one):
                number = f"[{index}]" if isinstance(value, tuple) else ""
                yield from complaints(one, f"{key}{number}.")
