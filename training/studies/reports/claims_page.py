"""The page of claims: every published claim that a study tests, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from training.studies.design import ClaimDesign, MeanClaim
from training.studies.reports.analysis import Analysis
from training.studies.reports.claim_results import ClaimResult
from training.studies.reports.registration import Registration
from training.studies.reports.study_page import table
from training.studies.reports.wording import effect_size
from training.studies.statistics.scores import unit_of
from training.studies.statistics.verdicts import Standing

INTRODUCTION = """\
# What is claimed, and what we measured

Each row is a claim of the article (LearnOpenCV, "Batch Normalization in Deep Networks"), of Ioffe
and Szegedy, or of those who looked again, with the study that tests it here. The verdict is by one
rule: *reproduced* if the 95 % interval lies wholly beyond the smallest effect of interest on the
claim's side (for a claimed number: wholly within its tolerance), *not reproduced* if wholly on the
other side (or outside), *practically equal* if wholly within the smallest effect, otherwise
*undecided*. A claimed number of epochs is reproduced if every run of three or more arrives in time,
and not if none does. What has no runs yet, or too short ones, is *not measured*.

Each interval stands alone: of twenty true ones about one misses. The studies' pages give Holm's
corrected p beside it, and say when the design was registered and what was changed since.

For readers without statistics: a network trained again with other random numbers comes out a little
differently, so each was trained several times, and the interval in brackets is where the mean of
very many such runs is likely to lie. What is claimed holds only if the whole interval says so.

The page is written by `foldnorm study claims` from the rows in `docs/studies`; each study's own
page has its figures, all its runs, and what its size can and cannot show."""


# What failed is worth most.
ORDER = (
    Standing.NOT_REPRODUCED,
    Standing.PRACTICALLY_EQUAL,
    Standing.UNDECIDED,
    Standing.REPRODUCED,
    Standing.NOT_MEASURED,
)
HEADER = ("claim", "source", "holds if", "result [95 %]", "runs", "study")


def claims_page(
    analyses: Sequence[Analysis], registrations: Mapping[str, Registration | None]
) -> str:
    """Return the page: claims by their verdict, the failed ones first, then what was run.

    `registrations` are by the names of the studies.
    """
    claims = [(analysis, claim) for analysis in analyses for claim in analysis.claims]
    by_standing = {
        standing: [_row(*pair) for pair in claims if pair[1].standing is standing]
        for standing in ORDER
    }
    counts = ", ".join(f"{len(rows)} {standing}" for standing, rows in by_standing.items() if rows)
    runs = {row.run for analysis in analyses for row in analysis.rows}
    blocks = [INTRODUCTION, f"{len(claims)} claims: {counts}. {len(runs)} runs stand behind them."]
    for standing, rows in by_standing.items():
        if rows:
            blocks += [f"## {standing.capitalize()}", table(HEADER, rows)]
    return "\n\n".join([*blocks, "## The studies", _sizes(analyses, registrations)]) + "\n"


def _row(analysis: Analysis, claim: ClaimResult) -> list[str]:
    reads = f" ({claim.design.reads})" if claim.design.reads and claim.runs else ""
    return [
        claim.design.text,
        claim.design.source,
        _criterion(analysis, claim.design),
        claim.result + reads,
        str(claim.runs or ""),
        _linked(analysis, "report.md"),
    ]


def _criterion(analysis: Analysis, design: ClaimDesign) -> str:
    """Return what would reproduce the claim."""
    parts = []
    if design.contrast:
        found = next(one for one in analysis.contrasts if one.design.name == design.contrast)
        size = effect_size(found.smallest, found.measure)
        sign = design.predicted or found.design.predicted
        meaning = {"+": "above", "-": "below -", "=": "within ±", ">=": "not below -"}[sign]
        parts.append(f"{found.design.name}: {meaning}{' ' * (sign == '+')}{size}")
    if design.mean:
        parts.append(_bounds(design.mean))
    if design.arrival:
        parts.append(
            f"{100 * design.arrival.threshold:g} % within {design.arrival.within:g} epochs"
        )
    return "; ".join(parts)


def _bounds(mean: MeanClaim) -> str:
    percent = unit_of(mean.measure) == "share"
    low, high = (f"{100 * end:g} %" if percent else f"{end:g}" for end in (mean.low, mean.high))
    if math.isinf(mean.high):
        return f"at least {low}"
    return f"at most {high}" if math.isinf(mean.low) else f"{low} to {high}"


def _linked(analysis: Analysis, file: str) -> str:
    name = analysis.study.name
    return f"[{name}](studies/{name}/{file})" if analysis.rows else name


def _sizes(analyses: Sequence[Analysis], registrations: Mapping[str, Registration | None]) -> str:
    rows = []
    for analysis in analyses:
        preset = analysis.study.preset(analysis.preset)
        devices = sorted(
            {f"{row.made['device']}, {row.made['precision']}" for row in analysis.rows}
        )
        rows.append(
            [
                _linked(analysis, "rows.csv"),
                analysis.study.question,
                str(len(analysis.rows)),
                f"`{analysis.preset}`: {preset.note or 'full size'}",
                "; ".join(devices),
                found.words if (found := registrations.get(analysis.study.name)) else "",
            ]
        )
    return table(["study", "question", "runs", "size", "hardware", "design registered"], rows)
