"""A table as text of at most forty lines, and as HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

MAX_ROWS = 34
MAX_WIDTH = 100  # of a column

Line = Sequence[str]


def as_text(titles: Line, lines: Sequence[Line], tail: Sequence[str] = ()) -> str:
    """Return the lines below their titles, columns side by side, and what comes after them."""
    cells = [[_cut(cell) for cell in line] for line in (titles, *lines)] if lines else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([*rows, *tail])


def as_html(titles: Line, lines: Sequence[Line], tail: Sequence[str] = ()) -> str:
    """Return the same as HTML."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if lines else ""
    return table + "".join(f"<p>{html.escape(line)}</p>" for line in tail)


def counted(count: int, name: str) -> str:
    """Return a number of things, as `1 output` or `2 outputs`."""
    return f"{count} {name}{'s' * (count != 1)}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"
