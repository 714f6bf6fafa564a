"""Every error has one row, one heading in the documentation and one entry in OpenAPI."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from service import errors
from service.api.problems import EVERY_PROBLEM, PROBLEMS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "problems.md"
ABSTRACT = {errors.ServiceError, errors.RequestError}


def headings() -> dict[str, str]:
    """The text below each heading of the page, by heading."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_error_has_a_row_of_its_own() -> None:
    classes = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.ServiceError)
    }
    assert classes - ABSTRACT == set(PROBLEMS)


def test_no_two_rows_have_one_type() -> None:
    assert len(EVERY_PROBLEM) == len({row.slug for row in EVERY_PROBLEM})


def test_every_problem_has_a_heading_and_every_heading_a_problem() -> None:
    assert {row.slug for row in EVERY_PROBLEM} == set(headings())


def test_the_page_names_the_status_and_the_title_of_each() -> None:
    texts = headings()
    for row in EVERY_PROBLEM:
        assert f"{row.status} {row.title}." in texts[row.slug], row.slug


def test_every_error_is_documented_with_its_meaning() -> None:
    tree = inspect.getdoc(errors) or ""
    for cls in PROBLEMS:
        assert cls.__name__ in tree
