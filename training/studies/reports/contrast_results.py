"""What the contrasts of a study come to, each with its interval and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.studies.design import ContrastDesign, Study
from training.studies.rows import Row, horizon
from training.studies.statistics.cells import Cell, cell_of
from training.studies.statistics.contrasts import contrast, holm
from training.studies.statistics.intervals import Estimate, mean_interval
from training.studies.statistics.scores import score_of_chance
from training.studies.statistics.verdicts import Prediction, Verdict, verdict


@dataclass(frozen=True)
class ContrastResult:
    """A contrast with its interval; no estimate where a cell has no runs yet."""

    design: ContrastDesign
    measure: str
    estimate: Estimate | None
    smallest: float  # effect of interest, in the measure's unit
    decidable: bool = True  # not if runs diverged that no score stands for
    horizons: str = ""  # such as `after 15 against 30 epochs`, where the sides differ
    holm_p: float | None = None  # within the family of those that are not exploratory

    @property
    def verdict(self) -> Verdict | None:
        """What it says of its own prediction."""
        return self.verdict_of(self.design.predicted)

    def verdict_of(self, predicted: Prediction) -> Verdict | None:
        """Return what it says of a prediction; None where a cell has no runs yet."""
        if self.estimate is None:
            return None
        if not self.decidable:
            return Verdict.UNDECIDED
        return verdict(self.estimate, self.smallest, predicted)


def by_cell(rows: Sequence[Row], measure: str) -> dict[Cell, list[float]]:
    """Return a measure of the runs of each cell that have it."""
    cells: dict[Cell, list[float]] = {}
    for row in rows:
        if measure in row.measures:
            cells.setdefault(cell_of(row.levels), []).append(row.measures[measure])
    return cells


def contrast_results(study: Study, rows: Sequence[Row]) -> tuple[ContrastResult, ...]:
    """Return all contrasts of a study, corrected within the family that was announced."""
    return _with_holm([_contrast(study, design, rows) for design in study.contrasts])


def _contrast(study: Study, design: ContrastDesign, rows: Sequence[Row]) -> ContrastResult:
    measure = design.measure or study.primary
    cells, weights = by_cell(rows, measure), study.weights(design)
    weighed = {cell: weight for cell, weight in weights.items() if weight}
    if any(not cells.get(cell) for cell in weighed):
        return ContrastResult(design, measure, None, study.smallest)
    estimate = contrast(cells, weights)
    smallest = study.smallest
    if design.smallest_share:
        base = sum(-w * mean_interval(cells[c]).value for c, w in weighed.items() if w < 0)
        smallest = design.smallest_share * abs(base)
    lost = any(row.status == "diverged" for row in rows if cell_of(row.levels) in weighed)
    return ContrastResult(
        design,
        measure,
        estimate,
        smallest,
        # The runs that trained do not speak for those that did not.
        decidable=smallest > 0 and not (lost and score_of_chance(measure) is None),
        horizons=_horizons(weighed, rows),
    )


def _horizons(weighed: Mapping[Cell, float], rows: Sequence[Row]) -> str:
    """Say after how many epochs the two sides were compared, where that differs."""
    ends: dict[bool, list[Row]] = {True: [], False: []}
    for row in rows:
        weight = weighed.get(cell_of(row.levels))
        if weight:
            ends[weight > 0].append(row)
    plus, minus = (int(horizon(side)) for side in (ends[True], ends[False]))
    return "" if plus == minus else f"after {plus} against {minus} epochs"


def _with_holm(results: Sequence[ContrastResult]) -> tuple[ContrastResult, ...]:
    """Correct within the family that was announced, measured or not."""
    family = [one for one in results if not one.design.exploratory]
    corrected = holm([one.estimate.p if one.estimate else None for one in family])
    by_name = {one.design.name: p for one, p in zip(family, corrected, strict=True)}
    return tuple(replace(one, holm_p=by_name.get(one.design.name)) for one in results)
