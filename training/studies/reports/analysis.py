"""The analysis that a study's design announced, carried out on its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.studies.design import (
    Study,
)
from training.studies.reports.claim_results import ClaimResult, claim_result
from training.studies.reports.contrast_results import ContrastResult, by_cell, contrast_results
from training.studies.rows import CurvePoint, Row, horizon
from training.studies.statistics.cells import CellSummary, summary_of
from training.studies.statistics.contrasts import contrast
from training.studies.statistics.crossing import Crossings
from training.studies.statistics.crossing_ratio import crossing_ratio
from training.studies.statistics.intervals import Estimate
from training.studies.statistics.scores import score_of_chance
from training.studies.statistics.shapley import Dependence, attribute


@dataclass(frozen=True)
class CellResult:
    """The runs of one cell: the primary measure of each, in the order of their seeds."""

    levels: Mapping[str, str]
    rows: tuple[Row, ...]
    summary: CellSummary

    @property
    def name(self) -> str:
        """The levels, in the order of the factors."""
        return ", ".join(self.levels.values())


@dataclass(frozen=True)
class ShareResult:
    """How much of the gap between two cells is one switch's."""

    switch: str
    estimate: Estimate
    by_order: tuple[float, ...]  # its effect in each order in which the switches can be thrown


@dataclass(frozen=True)
class AttributionResult:
    """The shares of all switches, and which of them depends most on which other."""

    shares: tuple[ShareResult, ...]
    dependence: Dependence | None

    @property
    def gap(self) -> float:
        """What all switches together add."""
        return sum(share.estimate.value for share in self.shares)


@dataclass(frozen=True)
class CrossingResult:
    """When the runs of each cell reached an accuracy, and how the cells compare."""

    threshold: float
    arms: tuple[Crossings, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """All results of a study in one preset."""

    study: Study
    preset: str
    cells: tuple[CellResult, ...]
    contrasts: tuple[ContrastResult, ...]
    attribution: AttributionResult | None  # None without one, or where a cell has no run
    crossings: tuple[CrossingResult, ...]
    claims: tuple[ClaimResult, ...]
    curves: tuple[CurvePoint, ...]

    @property
    def rows(self) -> list[Row]:
        """All runs."""
        return [row for cell in self.cells for row in cell.rows]


def analyse(
    study: Study, preset: str, rows: Sequence[Row], curves: Sequence[CurvePoint]
) -> Analysis:
    """Return the results of one preset; a cell or contrast without runs says so by its absence."""
    of_preset = [row for row in rows if row.preset == preset]
    cells = tuple(_cells(study, of_preset))
    contrasts = contrast_results(study, of_preset)
    crossings = tuple(_crossing(study, cells, threshold) for threshold in study.thresholds)
    wanted = {row.run for row in of_preset}
    return Analysis(
        study=study,
        preset=preset,
        cells=cells,
        contrasts=contrasts,
        attribution=_attribution(study, of_preset),
        crossings=crossings if cells else (),
        claims=tuple(claim_result(design, contrasts, of_preset) for design in study.claims),
        curves=tuple(point for point in curves if point.run in wanted),
    )


def _cells(study: Study, rows: Sequence[Row]) -> list[CellResult]:
    results = []
    for cell in study.cells():
        members = tuple(row for row in rows if row.levels == dict(cell))
        scores = [
            None if row.status == "diverged" else row.measures.get(study.primary)
            for row in members
            if row.status == "diverged" or study.primary in row.measures
        ]
        if scores:
            chance = score_of_chance(study.primary)
            assert chance is not None, "a design with such a primary measure is refused"
            results.append(CellResult(dict(cell), members, summary_of(scores, chance)))
    return results


def _attribution(study: Study, rows: Sequence[Row]) -> AttributionResult | None:
    if study.attribution is None:
        return None
    attribution = attribute(study.attribution.start, study.attribution.switches)
    cells = by_cell(rows, study.primary)
    if any(cell not in cells for cell in attribution.cells):
        return None
    means = {cell: sum(values) / len(values) for cell, values in cells.items()}
    shares = tuple(
        ShareResult(share.switch, contrast(cells, share.weights), share.increments(means))
        for share in attribution.shares
    )
    return AttributionResult(shares, attribution.strongest_dependence(means))


def _crossing(study: Study, cells: Sequence[CellResult], threshold: float) -> CrossingResult:
    measure = f"epochs_to_{threshold:g}"
    arms = tuple(
        Crossings(
            arm=cell.name,
            arrivals=tuple(row.epoch_of(measure) for row in cell.rows),
            horizon=horizon(cell.rows),
        )
        for cell in cells
    )
    sentences = []
    for other in arms[1:]:
        slow, fast = _one_horizon(arms[0], other)
        sentences.append(crossing_ratio(slow, fast).sentence)
    return CrossingResult(threshold, arms, tuple(sentences))


def _one_horizon(a: Crossings, b: Crossings) -> tuple[Crossings, Crossings]:
    """Return two arms as seen up to one horizon.

    An arm whose runs have all arrived may be seen up to any later one; else both are cut to the
    shorter.
    """
    longer = max(a.horizon, b.horizon)
    if all(arm.horizon == longer or arm.all_arrived for arm in (a, b)):
        return replace(a, horizon=longer), replace(b, horizon=longer)
    shorter = min(a.horizon, b.horizon)
    return _cut(a, shorter), _cut(b, shorter)


def _cut(arm: Crossings, horizon: float) -> Crossings:
    arrivals = tuple(t if t is not None and t <= horizon else None for t in arm.arrivals)
    return replace(arm, arrivals=arrivals, horizon=horizon)
