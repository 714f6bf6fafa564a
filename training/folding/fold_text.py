"""A fold as text and as HTML, of an ONNX model and of a torch network alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.folding.engine.report_row import Row
from training.folding.plain_table import MAX_ROWS, Line, as_html, as_text, counted
from training.folding.proof.verdict import Verdict

TITLES = ("batch norm", "channels", "folded into, or why not")


def fold_text(rows: Sequence[Row], total: str) -> str:
    """Return a row for each batch norm, the kept ones if there are too many, and the total."""
    return _table(as_text, rows, total)


def fold_html(rows: Sequence[Row], total: str) -> str:
    """Return the same as HTML."""
    return _table(as_html, rows, total)


def total_of(rows: Sequence[Row], verdict: Verdict | None) -> str:
    """Return how many batch norms there were, how many are gone, and whether that is proved."""
    norms = [row for row in rows if row.is_norm]
    folded = sum(row.folded for row in norms)
    counts = f"{counted(len(norms), 'batch norm')}: {folded} folded, {len(norms) - folded} kept"
    constants = [row for row in rows if not row.is_norm and row.folded]
    if not norms:
        counts = "the network has no batch norm"
    if constants:
        counts += f"; {counted(len(constants), 'constant')} folded"
    return f"{counts}; {'not proved, as asked' if verdict is None else verdict.summary}"


def _table(
    make: Callable[[Line, Sequence[Line], Sequence[str]], str], rows: Sequence[Row], total: str
) -> str:
    """Return the rows to show, in network order, and a line on the others."""
    order = sorted(range(len(rows)), key=lambda at: (rows[at].folded, at))
    shown = sorted(order[:MAX_ROWS])
    others = [rows[at] for at in order[MAX_ROWS:]]
    kept = sum(not row.folded for row in others)
    more = [f"… and {len(others)} more, {kept} of them kept: `rows` has all"] if others else []
    return make(TITLES, [_cells(rows[at]) for at in shown], [*more, total])


def _cells(row: Row) -> Line:
    return row.name, str(row.norm.channels), row.outcome
