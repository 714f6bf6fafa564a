"""docs/folding.md shows what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.folding_bench.tables import with_tables
from benchmarks.folding_bench.zoo_table import networks_table, slower, with_zoo

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "folding.md").read_text(encoding="utf-8")
FOLDER = ROOT / "benchmarks" / "results"
RESULTS = json.loads((FOLDER / "folding.json").read_text(encoding="utf-8"))
ZOO = json.loads((FOLDER / "folding_onnx_zoo.json").read_text(encoding="utf-8"))


def test_the_tables_are_those_of_the_results() -> None:
    assert with_tables(PAGE, RESULTS) == PAGE


def test_other_results_would_make_another_page() -> None:
    other = json.loads(json.dumps(RESULTS))
    other["patterns"][0]["cells"][0]["state"] = "wrong"
    assert with_tables(PAGE, other) != PAGE


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places for the table 'patterns'"):
        with_tables("no tables here", RESULTS)


def test_the_tables_of_the_zoos_are_those_of_the_results() -> None:
    assert with_zoo(PAGE, ZOO) == PAGE


def test_a_ratio_counts_as_slower_beyond_the_limit_and_beyond_chance() -> None:
    ratios = {"a": [1.2, 1.1, 1.3], "b": [1.2, 0.9, 1.5], "c": [1.04, 1.03, 1.05], "d": None}
    assert slower({"times": {"ratio": ratios}}) == ["a"]


def test_both_exports_of_a_network_share_a_row() -> None:
    rows = [
        {
            "file": f"timm-resnet18.{exporter}",
            "norms": [20, 0],
            "verdict": "holds",
            "seconds": seconds,
            "peak_mib": 200,
            "times": {"ratio": {"as is": [0.5, 0.4, 0.6], "onnxsim": None}},
        }
        for exporter, seconds in (("default", 3.2), ("traced", 2.9))
    ]
    row = networks_table(rows).splitlines()[-1]
    assert row == "| timm resnet18 | 20 → 0 | holds | 3 | 200 | 0.50 | – | – | = | – |"
