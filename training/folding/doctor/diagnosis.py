"""Findings as one JSON document, and as a table for the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.markup import escape
from rich.table import Table

from training.folding.doctor.finding import EXIT_CODES, Finding, exit_code

SCHEMA = 1


@dataclass(frozen=True)
class Diagnosis:
    """All that was found of a model.

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
    table = Table("severity", "layer", "found", "remedy", title=title, show_lines=True)
    for one in diagnosis.findings:
        cells = (one.severity, one.layer or "(network)", one.found, one.remedy)
        table.add_row(*map(escape, cells))
    return table
