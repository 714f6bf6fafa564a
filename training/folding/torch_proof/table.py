"""A fold as text of at most forty lines, and as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from training.folding.proof.verdict import Verdict
from training.folding.torch_frontend import NormRow

MAX_ROWS = 34
MAX_WIDTH = 100  # of the last column
TITLES = ("batch norm", "channels", "folded into, or why not")


def as_text(rows: Sequence[NormRow], total: str) -> str:
    """Return a table with a row for each batch norm, the kept ones if there are too many."""
    shown, more = _shown(rows)
    cells = [_cells(row) for row in shown]
    if cells:
        cells.insert(0, TITLES)
    widths = [max(len(line[column]) for line in cells) for column in (0, 1)] if cells else []
    lines = [
        f"{name:<{widths[0]}}  {channels:>{widths[1]}}  {_cut(outcome)}"
        for name, channels, outcome in cells
    ]
    return "\n".join([*lines, *more, total])


def as_html(rows: Sequence[NormRow], total: str) -> str:
    """Return the same as HTML."""
    shown, more = _shown(rows)
    head = "".join(f"<th>{title}</th>" for title in TITLES)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
        for row in shown
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if shown else ""
    return table + "".join(f"<p>{html.escape(line)}</p>" for line in (*more, total))


def total_of(rows: Sequence[NormRow], verdict: Verdict | None) -> str:
    """Return how many batch norms there were, how many are gone, and whether that is proved."""
    norms = [row for row in rows if row.is_norm]
    folded = sum(row.folded for row in norms)
    counts = f"{_counted(norms, 'batch norm')}: {folded} folded, {len(norms) - folded} kept"
    constants = [row for row in rows if not row.is_norm]
    if not norms:
        counts = "the network has no batch norm"
    if constants:
        counts += f"; {_counted(constants, 'constant')} folded"
    return f"{counts}; {_judged(verdict)}"


def _judged(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not proved, as asked"
    difference = verdict.statistics.largest_relative
    held = "holds" if verdict.holds else "FAILS"
    return (
        f"the proof {held}: {_counted(range(verdict.judged), 'output')} compared, the largest "
        f"difference {difference:.1e} of the scale{''.join(f'; {note}' for note in verdict.notes)}"
    )


def _counted(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _shown(rows: Sequence[NormRow]) -> tuple[list[NormRow], list[str]]:
    """Return the rows to show, in network order, and a line on the others."""
    if len(rows) <= MAX_ROWS:
        return list(rows), []
    first = set(sorted(range(len(rows)), key=lambda at: (rows[at].folded, at))[:MAX_ROWS])
    others = [row for at, row in enumerate(rows) if at not in first]
    kept = sum(not row.folded for row in others)
    line = f"… and {len(others)} more, {kept} of them kept: `rows` has all"
    return [row for at, row in enumerate(rows) if at in first], [line]


def _cells(row: NormRow) -> tuple[str, str, str]:
    name = row.norm.name if row.is_norm else f"{row.norm.name} (constant)"
    return name, str(row.norm.channels), row.outcome


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"
