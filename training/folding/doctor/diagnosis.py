"""Findings as one JSON document, and as a table for the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from training.folding.doctor.finding import EXIT_CODES, Finding, exit_code
from training.folding.plain_table import Line, as_html, as_text, counted

SCHEMA = 1
TITLES = ("severity", "layer", "found", "remedy")


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """All that was found of a model. Printed, it is a table.

    Attributes:
        model: as it was named.
        kind: what it was taken for.
        batch_norms: how many were examined.
        findings: the worst first.
        measurements: by name, of what was measured on data.
    """

    model: str
    kind: str
    batch_norms: int
    findings: list[Finding]
    measurements: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Return 0 for nothing but notes, 1 with warnings, 3 with errors."""
        return exit_code(self.findings)

    @property
    def lines(self) -> list[Line]:
        """What was found of each layer, the worst first."""
        return [
            (one.severity, one.layer or "(network)", one.found, one.remedy) for one in self.findings
        ]

    @property
    def summary(self) -> str:
        """How many there are, and how bad it is, as a line."""
        state = {0: "healthy", 1: "warnings", 3: "ERRORS"}[self.exit_code]
        norms = counted(self.batch_norms, "batch norm")
        return f"{self.kind}: {norms}, {counted(len(self.findings), 'finding')}: {state}"

    def __repr__(self) -> str:
        return as_text(TITLES, self.lines, [self.summary])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return as_html(TITLES, self.lines, [self.summary])


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return errors, then warnings, then notes, each in the order of the layers."""
    return sorted(findings, key=lambda one: -EXIT_CODES[one.severity])


def doctor_report(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as plain values."""
    counts = Counter(one.severity for one in diagnosis.findings)
    return {
        "schema": SCHEMA,
        **asdict(diagnosis),
        "counts": {severity: counts[severity] for severity in ("error", "warning", "note")},
        "healthy": diagnosis.exit_code == 0,
    }


def doctor_table(diagnosis: Diagnosis) -> Table:
    """Return a row for every finding."""
    title = f"{diagnosis.kind}, {diagnosis.batch_norms} batch norms"
    table = Table(*TITLES, title=title, show_lines=True)
    for line in diagnosis.lines:
        table.add_row(*map(escape, line))
    return table
