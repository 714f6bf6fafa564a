"""docs/training.md shows what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.training_bench.tables import summarize, with_tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
RESULTS = json.loads(
    (ROOT / "benchmarks" / "results" / "training.json").read_text(encoding="utf-8")
)


def test_the_tables_are_those_of_the_results() -> None:
    assert with_tables(PAGE, RESULTS) == PAGE


def test_other_results_would_make_another_page() -> None:
    other = json.loads(json.dumps(RESULTS))
    other["speed"][0]["images_per_s"]["median"] *= 2
    assert with_tables(PAGE, other) != PAGE


def test_multiples_are_of_the_faster_tutorial_within_each_round() -> None:
    rates = {
        "tutorial, 2 workers": (100.0, 50.0),
        "tutorial, no workers": (80.0, 60.0),
        "bfloat16": (200.0, 180.0),
    }
    cells = [
        {"network": "air94", "system": system, "round": number, "images_per_s": rate}
        for system, both in rates.items()
        for number, rate in enumerate(both)
    ]
    speed = {row["system"]: row["times_tutorial"] for row in summarize(cells)}
    assert speed["bfloat16"] == {"median": 2.5, "min": 2.0, "max": 3.0, "n": 2}
    assert speed["tutorial, 2 workers"] is None
