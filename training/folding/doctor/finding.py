"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
EXIT_CODES: dict[Severity, int] = {"note": 0, "warning": 1, "error": 3}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, of one layer.

    Attributes:
        severity: an error makes wrong outputs, a warning may; a note is for information.
        check: the name of the check, for programs.
        layer: the batch norm, empty for the whole network.
        found: what was found, with the numbers.
        remedy: what to do about it.
    """

    severity: Severity
    check: str
    layer: str
    found: str
    remedy: str


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 if there is nothing but notes, 1 with warnings, 3 with errors."""
    return max((EXIT_CODES[one.severity] for one in findings), default=0)
