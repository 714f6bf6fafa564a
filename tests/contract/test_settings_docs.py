"""docs/settings.md lists every setting with its default, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from service.settings import SHIPPED_ARTIFACTS, Settings, variable_name

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
COMPUTED = {"threads": "computed", "default_model": "chosen"}


def documented() -> dict[str, tuple[str, str]]:
    """Default and description by variable, from the rows of the page's table."""
    rows = re.findall(
        r"^\| `(FOLDNORM_\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {variable: (default, description) for variable, default, description in rows}


def shown_default(field: str) -> str:
    if field in COMPUTED:
        return COMPUTED[field]
    default = Settings.model_fields[field].default
    if default == SHIPPED_ARTIFACTS:
        return "`models/artifacts`"
    return f"`{default}`"


def test_the_page_lists_every_setting_and_no_other() -> None:
    assert [variable_name(field) for field in Settings.model_fields] == list(documented())


def test_the_page_has_the_defaults_and_the_descriptions_of_the_code() -> None:
    expected = {
        variable_name(name): (shown_default(name), field.description)
        for name, field in Settings.model_fields.items()
    }
    assert expected == documented()
