"""Tables of measured figures in pages of the documentation, between markers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """Return the page with each text between `<!-- NAME -->` and `<!-- end -->`.

    Raises:
        ValueError: the page has no such place, or several.
    """
    for name, text in blocks.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        places = list(block.finditer(page))
        if len(places) != 1:
            raise ValueError(
                f"the page has {len(places)} places for the table {name!r}, it needs one"
            )
        page = page[: places[0].end(1)] + text + page[places[0].start(2) :]
    return page


def markdown_table(rows: list[list[str]]) -> str:
    """Return rows of cells, the first of them the headings, as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
