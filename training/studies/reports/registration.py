"""Whether a design was registered before its runs, and what has changed in it since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from training.studies.plan import design_hash
from training.studies.rows import Row


@dataclass(frozen=True)
class Registration:
    """How the design that holds now compares with the one that was registered."""

    when: str
    digest: str  # SHA-256
    begun: int  # runs that had been started before
    runs: int
    changes: tuple[str, ...]  # a line each

    @property
    def words(self) -> str:
        """Such as `before the first run`, or `after 3 of 7 runs had begun, changed since`."""
        after = f"after {self.begun} of {self.runs} runs had begun"
        return (after if self.begun else "before the first run") + (
            ", changed since" if self.changes else ""
        )


def registration(
    registered: Mapping[str, Any] | None, design: Mapping[str, Any], rows: Sequence[Row]
) -> Registration | None:
    """Return the comparison of what was registered with what holds now; None without any."""
    if registered is None:
        return None
    when = datetime.fromisoformat(registered["registered"])
    begun = [row for row in rows if row.made["started"] and _time(row.made["started"]) < when]
    same = design_hash(design) == registered["sha256"]
    return Registration(
        registered["registered"],
        registered["sha256"],
        len(begun),
        len(rows),
        () if same else tuple(changes(registered["design"], design)) or ("its SHA-256",),
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def changes(registered: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each value that is not what was registered, by its dotted key."""
    before, after = dict(_leaves(registered)), dict(_leaves(now))
    return [
        f"`{key}`: {_words(before, key)}, now {_words(after, key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _leaves(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, inner in enumerate(value):
            label = inner.get("name") or inner.get("text") or index
            yield from _leaves(inner, f"{prefix}[{label}]")
    else:
        yield prefix, value


def _words(leaves: Mapping[str, object], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "absent"
