"""The page of claims: every published claim that a study tests, and what it found."""

from __future__ import annotations

from collections.abc import Sequence

from training.studies.reports.analysis import Analysis
from training.studies.reports.study_page import table

INTRODUCTION = """\
# What is claimed, and what we measured

Each row is a claim of the article (LearnOpenCV, "Batch Normalization in Deep Networks"), of Ioffe
and Szegedy, or of those who looked again, with the study that tests it here. The verdict is by a
rule that was fixed before the runs: *reproduced* if the 95 % interval lies wholly beyond the
smallest effect of interest on the claim's side (for a claimed number: wholly within its
tolerance), *not reproduced* if wholly on the other side (or outside), *practically equal* if wholly
within the smallest effect, otherwise *undecided*. What has no runs yet is *not measured*.

The page is written by `foldnorm study claims` from the rows in `docs/studies`; each study's own
page has its figures, all its runs, and what its size can and cannot show."""


def claims_page(analyses: Sequence[Analysis]) -> str:
    """Return the page for these analyses, in their order."""
    rows = [
        [
            one.design.text,
            one.design.source,
            one.result or "",
            str(one.runs) if one.runs else "",
            f"{one.standing}" + (f" ({one.design.reads})" if one.design.reads else ""),
            f"[{analysis.study.name}](studies/{analysis.study.name}/report.md)"
            if analysis.rows
            else analysis.study.name,
        ]
        for analysis in analyses
        for one in analysis.claims
    ]
    header = ["claim", "source", "result [95 %]", "runs", "verdict", "study"]
    return (
        "\n\n".join((INTRODUCTION, table(header, rows), "## The studies", _sizes(analyses))) + "\n"
    )


def _sizes(analyses: Sequence[Analysis]) -> str:
    rows = []
    for analysis in analyses:
        preset = analysis.study.preset(analysis.preset)
        devices = sorted({row.made["device"] for row in analysis.rows})
        name = analysis.study.name
        rows.append(
            [
                f"[{name}](studies/{name}/rows.csv)" if analysis.rows else name,
                analysis.study.question,
                str(len(analysis.rows)),
                f"`{analysis.preset}`: {preset.note or 'full size'}",
                "; ".join(devices),
            ]
        )
    return table(["study", "question", "runs", "size", "hardware"], rows)
