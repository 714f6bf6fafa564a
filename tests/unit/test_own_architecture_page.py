"""The page about networks of one's own: its links, and the length of its example."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-architecture.md").read_text(encoding="utf-8")


def test_the_example_is_about_thirty_lines():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(example.strip().splitlines()) <= 32


def test_every_link_leads_to_a_page_and_to_a_heading():
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", PAGE):
        page = (ROOT / "docs" / target).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"\W", "-", one.lower()) for one in headings}
