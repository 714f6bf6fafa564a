"""ARCHITECTURE.md, CONTRIBUTING.md and docs/ name files; each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "log.md"]  # dated
PAGES = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *DOCS]
FILE = re.compile(r"\b(?:service|training|models|tests|benchmarks)/[\w./-]+\.(?:py|toml|json)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(FILE.findall(page.read_text(encoding="utf-8")))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_walks_name_most_rooms() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = {Path(name).parent for name in FILE.findall(text)}
    assert len(named) >= 20


def test_a_file_that_is_gone_would_be_seen() -> None:
    assert FILE.findall("see `service/inference/nothing.py`") == ["service/inference/nothing.py"]
