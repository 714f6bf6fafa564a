"""What a study says of the claims that it tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from training.studies.design import ArrivalClaim, ClaimDesign, MeanClaim, selects
from training.studies.reports.contrast_results import ContrastResult
from training.studies.reports.wording import words
from training.studies.rows import Row, horizon
from training.studies.statistics.intervals import mean_interval
from training.studies.statistics.verdicts import Standing, Verdict, standing

FEWEST_ARRIVALS = 3  # below, runs that arrive in time say nothing of the next one


@dataclass(frozen=True)
class ClaimResult:
    """What the study says of a claim."""

    design: ClaimDesign
    result: str  # a value with its interval, or how many runs arrived
    runs: int
    standing: Standing


def claim_result(
    design: ClaimDesign, contrasts: Sequence[ContrastResult], rows: Sequence[Row]
) -> ClaimResult:
    """Return what a study's contrasts and rows say of a claim."""
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
    shortest = int(horizon(tested)) if tested else 0
    if result.runs and shortest < design.epochs:
        ended = f"{result.result} after {shortest} of the {design.epochs} epochs that it needs"
        return replace(result, result=ended, standing=Standing.NOT_MEASURED)
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
    conclusion = found.verdict_of(predicted)
    says = standing(conclusion)
    if predicted == "=" and conclusion is Verdict.PRACTICALLY_EQUAL:
        says = Standing.REPRODUCED
    result = " ".join(filter(None, (words(found.estimate, found.measure), found.horizons)))
    return ClaimResult(design, result, found.estimate.n, says)


def _values_of(rows: Sequence[Row], measure: str, selection: Mapping[str, str]) -> list[float]:
    """Return a measure of the runs whose levels are those of the selection."""
    return [
        row.measures[measure]
        for row in rows
        if selects(selection, tuple(row.levels.items())) and measure in row.measures
    ]


def _mean_claim(design: ClaimDesign, claim: MeanClaim, rows: Sequence[Row]) -> ClaimResult:
    values = _values_of(rows, claim.measure, claim.where)
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
    arrivals = [row.epoch_of(measure) for row in chosen]
    in_time = [t for t in arrivals if t is not None and t <= claim.within]
    watched = horizon(chosen)
    listed = ", ".join(f"> {watched:g}" if t is None else f"{t:g}" for t in arrivals)
    if len(chosen) < FEWEST_ARRIVALS:
        says = Standing.UNDECIDED
    elif len(in_time) == len(chosen):
        says = Standing.REPRODUCED
    elif in_time or watched < claim.within:
        says = Standing.UNDECIDED
    else:
        says = Standing.NOT_REPRODUCED
    text = f"{len(in_time)} of {len(chosen)} within {claim.within:g} epochs ({listed})"
    return ClaimResult(design, text, len(chosen), says)
