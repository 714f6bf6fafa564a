"""Cells of a study, and what one cell's runs came to, diverged ones among them.

A cell is one combination of levels. A run that diverged is a result: it scores chance and stays in
its cell, so every contrast contains it. A mean of runs that trained and runs that did not describes
neither, so such a cell says "2 of 3 trained" in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.studies.statistics.intervals import Estimate, mean_interval

CHANCE = 0.1  # ten classes, equally frequent

Cell = tuple[tuple[str, str], ...]  # (factor, level), sorted by factor


@dataclass(frozen=True)
class CellSummary:
    """The scores of one cell's runs, in their order."""

    scores: tuple[float, ...]  # a run that diverged has that of chance
    diverged: tuple[bool, ...]
    mean: Estimate | None  # None where some runs trained and others diverged

    @property
    def trained(self) -> int:
        """How many runs did not diverge."""
        return self.diverged.count(False)

    @property
    def words(self) -> str:
        """Such as `2 of 3 trained`."""
        return f"{self.trained} of {len(self.scores)} trained"


def cell_of(levels: Mapping[str, str]) -> Cell:
    """Return the cell of these levels, {factor: level}; the order of the factors is no matter."""
    return tuple(sorted(levels.items()))


def summary_of(accuracies: Sequence[float | None], chance: float = CHANCE) -> CellSummary:
    """Return the summary of a cell.

    Args:
        accuracies: One a run, shares of 1; None for a run that diverged.
        chance: What a run that diverged scores.

    Raises:
        ValueError: there is no run, or an accuracy is not finite.
    """
    scores = tuple(chance if accuracy is None else accuracy for accuracy in accuracies)
    diverged = tuple(accuracy is None for accuracy in accuracies)
    mean = mean_interval(scores)
    return CellSummary(scores, diverged, mean if len(set(diverged)) == 1 else None)
