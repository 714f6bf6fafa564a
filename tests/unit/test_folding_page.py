"""docs/folding.md shows what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.folding_bench.tables import with_tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "folding.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "folding.json").read_text(encoding="utf-8"))


def test_the_tables_are_those_of_the_results() -> None:
    assert with_tables(PAGE, RESULTS) == PAGE


def test_other_results_would_make_another_page() -> None:
    other = json.loads(json.dumps(RESULTS))
    other["patterns"][0]["cells"][0]["state"] = "wrong"
    assert with_tables(PAGE, other) != PAGE


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for the table 'patterns'"):
        with_tables("no tables here", RESULTS)
