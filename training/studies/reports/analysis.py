"""The analysis that a study's design announced, carried out on its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.errors import StudyError
from training.studies.design import (
    ArrivalClaim,
    ClaimDesign,
    ContrastDesign,
    MeanClaim,
    Study,
    selects,
)
from training.studies.rows import CurvePoint, Row
from training.studies.statistics.cells import Cell, CellSummary, cell_of, summary_of
from training.studies.statistics.contrasts import contrast, holm
from training.studies.statistics.crossing import Crossings
from training.studies.statistics.crossing_ratio import crossing_ratio
from training.studies.statistics.intervals import Estimate, mean_interval
from training.studies.statistics.scores import score_of_chance, unit_of
from training.studies.statistics.shapley import Dependence, attribute
from training.studies.statistics.verdicts import Standing, Verdict, standing, verdict

FEWEST_ARRIVALS = 3  # below, runs that arrive in time say nothing of the next one


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
class ContrastResult:
    """A contrast with its interval; None of both where a cell has no runs yet."""

    design: ContrastDesign
    measure: str
    estimate: Estimate | None
    verdict: Verdict | None
    smallest: float  # effect of interest, in the measure's unit
    horizons: str = ""  # such as `after 15 against 30 epochs`, where the sides differ
    holm_p: float | None = None  # within the family of those that are not exploratory


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
class ClaimResult:
    """What the study says of a claim."""

    design: ClaimDesign
    result: str  # a value with its interval, or how many runs arrived
    runs: int
    standing: Standing


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
    contrasts = _with_holm([_contrast(study, design, of_preset) for design in study.contrasts])
    crossings = tuple(_crossing(study, cells, threshold) for threshold in study.thresholds)
    wanted = {row.run for row in of_preset}
    return Analysis(
        study=study,
        preset=preset,
        cells=cells,
        contrasts=contrasts,
        attribution=_attribution(study, of_preset),
        crossings=crossings if cells else (),
        claims=tuple(_claim(study, design, contrasts, of_preset) for design in study.claims),
        curves=tuple(point for point in curves if point.run in wanted),
    )


def values_of(rows: Sequence[Row], measure: str, selection: Mapping[str, str]) -> list[float]:
    """Return a measure of the runs whose levels are those of the selection."""
    return [
        row.measures[measure]
        for row in rows
        if selects(selection, tuple(row.levels.items())) and measure in row.measures
    ]


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


def _by_cell(rows: Sequence[Row], measure: str) -> dict[Cell, list[float]]:
    cells: dict[Cell, list[float]] = {}
    for row in rows:
        if measure in row.measures:
            cells.setdefault(cell_of(row.levels), []).append(row.measures[measure])
    return cells


def _contrast(study: Study, design: ContrastDesign, rows: Sequence[Row]) -> ContrastResult:
    measure = design.measure or study.primary
    cells, weights = _by_cell(rows, measure), study.weights(design)
    weighed = {cell: weight for cell, weight in weights.items() if weight}
    if any(not cells.get(cell) for cell in weighed):
        return ContrastResult(design, measure, None, None, study.smallest)
    estimate = contrast(cells, weights)
    smallest = study.smallest
    if design.smallest_share:
        base = sum(-w * mean_interval(cells[c]).value for c, w in weighed.items() if w < 0)
        smallest = design.smallest_share * abs(base)
    lost = sum(row.status == "diverged" for row in rows if cell_of(row.levels) in weighed)
    if (lost and score_of_chance(measure) is None) or not smallest:
        says = Verdict.UNDECIDED  # the runs that trained do not speak for those that did not
    else:
        says = verdict(estimate, smallest, design.predicted)
    horizons = _horizons(weighed, rows)
    return ContrastResult(design, measure, estimate, says, smallest, horizons)


def _horizons(weighed: Mapping[Cell, float], rows: Sequence[Row]) -> str:
    """Say after how many epochs the two sides were compared, where that differs."""
    ends: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows:
        weight = weighed.get(cell_of(row.levels))
        if weight:
            ends[weight > 0].append(row)
    plus, minus = (int(_horizon(side)) for side in (ends[True], ends[False]))
    return "" if plus == minus else f"after {plus} against {minus} epochs"


def _with_holm(results: Sequence[ContrastResult]) -> tuple[ContrastResult, ...]:
    """Correct within the family that was announced, measured or not."""
    family = [one for one in results if not one.design.exploratory]
    corrected = holm([one.estimate.p if one.estimate else None for one in family])
    by_name = {one.design.name: p for one, p in zip(family, corrected, strict=True)}
    return tuple(replace(one, holm_p=by_name.get(one.design.name)) for one in results)


def _attribution(study: Study, rows: Sequence[Row]) -> AttributionResult | None:
    if study.attribution is None:
        return None
    attribution = attribute(study.attribution.start, study.attribution.switches)
    cells = _by_cell(rows, study.primary)
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
            arrivals=tuple(_arrival(row, measure) for row in cell.rows),
            horizon=_horizon(cell.rows),
        )
        for cell in cells
    )
    sentences = []
    for other in arms[1:]:
        slow, fast = _one_horizon(arms[0], other)
        sentences.append(crossing_ratio(slow, fast).sentence)
    return CrossingResult(threshold, arms, tuple(sentences))


def _arrival(row: Row, measure: str) -> float | None:
    """Return the epoch of an arrival, None where there was none.

    Raises:
        StudyError: it was not computed.
    """
    if measure not in row.measures:
        raise StudyError(
            f"run {row.run} of {row.study!r} has no {measure}: the threshold is newer than its "
            "row; remove the row, and foldnorm study run makes it again from the run's folder"
        )
    epoch = row.measures[measure]
    return epoch if math.isfinite(epoch) else None


def _horizon(rows: Sequence[Row]) -> float:
    """Return the epochs that all runs were watched for; one that diverged never arrives later."""
    watched = [row.epochs for row in rows if row.status == "done"]
    return float(min(watched or [max(row.epochs for row in rows)]) or 1)


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


def _claim(
    study: Study, design: ClaimDesign, contrasts: Sequence[ContrastResult], rows: Sequence[Row]
) -> ClaimResult:
    if design.arrival:
        result = _arrival_claim(design, design.arrival, rows)
    elif design.contrast and design.mean:
        result = _both(_contrast_claim(design, contrasts), _mean_claim(design, design.mean, rows))
    elif design.mean:
        result = _mean_claim(design, design.mean, rows)
    else:
        result = _contrast_claim(design, contrasts)
    where = (design.mean and design.mean.where) or (design.arrival and design.arrival.where) or {}
    tested = [row for row in rows if selects(where, tuple(row.levels.items()))]
    shortest = int(_horizon(tested)) if tested else 0
    if result.runs and shortest < design.epochs:
        horizon = f"{result.result} after {shortest} of the {design.epochs} epochs that it needs"
        return replace(result, result=horizon, standing=Standing.NOT_MEASURED)
    return result


def _both(difference: ClaimResult, mean: ClaimResult) -> ClaimResult:
    """Return the weaker of two results that must both hold, with the figures of both."""
    if not difference.runs or not mean.runs:
        return difference if not difference.runs else mean
    weaker = difference if difference.standing is not Standing.REPRODUCED else mean
    return replace(
        difference, result=f"{difference.result}, at {mean.result}", standing=weaker.standing
    )


def _contrast_claim(design: ClaimDesign, contrasts: Sequence[ContrastResult]) -> ClaimResult:
    found = next(one for one in contrasts if one.design.name == design.contrast)
    if found.estimate is None:
        return ClaimResult(design, "", 0, Standing.NOT_MEASURED)
    predicted = design.predicted or found.design.predicted
    conclusion = found.verdict
    if conclusion is not Verdict.UNDECIDED or predicted == ">=":
        conclusion = verdict(found.estimate, found.smallest, predicted)
    says = standing(conclusion)
    if predicted == "=" and conclusion is Verdict.PRACTICALLY_EQUAL:
        says = Standing.REPRODUCED
    result = " ".join(filter(None, (words(found.estimate, found.measure), found.horizons)))
    return ClaimResult(design, result, found.estimate.n, says)


def _mean_claim(design: ClaimDesign, claim: MeanClaim, rows: Sequence[Row]) -> ClaimResult:
    values = values_of(rows, claim.measure, claim.where)
    if not values:
        return ClaimResult(design, "", 0, Standing.NOT_MEASURED)
    estimate = mean_interval(values)
    if claim.low <= estimate.low and estimate.high <= claim.high:
        says = Standing.REPRODUCED
    elif estimate.high < claim.low or estimate.low > claim.high:
        says = Standing.NOT_REPRODUCED
    else:
        says = Standing.UNDECIDED
    return ClaimResult(design, words(estimate, claim.measure, difference=False), estimate.n, says)


def _arrival_claim(design: ClaimDesign, claim: ArrivalClaim, rows: Sequence[Row]) -> ClaimResult:
    chosen = [row for row in rows if selects(claim.where, tuple(row.levels.items()))]
    if not chosen:
        return ClaimResult(design, "", 0, Standing.NOT_MEASURED)
    measure = f"{'first_epoch_at' if claim.single else 'epochs_to'}_{claim.threshold:g}"
    arrivals = [_arrival(row, measure) for row in chosen]
    in_time = [t for t in arrivals if t is not None and t <= claim.within]
    horizon = _horizon(chosen)
    listed = ", ".join(f"> {horizon:g}" if t is None else f"{t:g}" for t in arrivals)
    if len(chosen) < FEWEST_ARRIVALS:
        says = Standing.UNDECIDED
    elif len(in_time) == len(chosen):
        says = Standing.REPRODUCED
    elif in_time or horizon < claim.within:
        says = Standing.UNDECIDED
    else:
        says = Standing.NOT_REPRODUCED
    text = f"{len(in_time)} of {len(chosen)} within {claim.within:g} epochs ({listed})"
    return ClaimResult(design, text, len(chosen), says)


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
