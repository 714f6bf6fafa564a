"""Watching the service: the view moves with a load, can be paused, and says when nothing comes."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.conftest import ROOT, OpenPage, serve

pytestmark = pytest.mark.systems
AXE = (Path(__file__).with_name("axe.min.js")).read_text(encoding="utf-8")
FROG = (ROOT / "service/api/page/web/examples/frog.png").read_bytes()
METRICS = """
# HELP h Seconds.
h_bucket{stage="total",le="0.1"} 1.0
h_bucket{stage="total",le="1.0"} 9.0
h_bucket{stage="total",le="+Inf"} 10.0
h_bucket{stage="run",le="0.1"} 99.0
c_total{reason="a \\"b\\" {c}",worker="1"} 3.0
c_total{reason="d",worker="2"} 4.5e1
"""


def shown(page: Page) -> dict[str, str]:
    rows = page.get_by_role("table", name="The service now", exact=True).locator("tbody tr")
    expect(rows.first).to_be_visible()
    return {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows.all()}


def test_the_view_moves_with_a_load_and_is_idle_without(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/#/operate")
    status = page.locator("#view p[role=status]")
    expect(status).to_have_text("Idle: no image in the last 2 seconds.")
    assert shown(page)["images a second"] == "0"
    with httpx.Client(base_url=server) as http:
        for _ in range(400):
            answer = http.post("/v1/predict", content=FROG, headers={"content-type": "image/png"})
            assert answer.status_code == 200
            if status.inner_text() == "Working.":
                break
    found = shown(page)
    assert float(found["images a second"]) > 0
    assert re.fullmatch(r"at most [\d.]+ ms", found["half of the requests took"])
    assert found["workers"] == "1"
    expect(status).to_have_text("Idle: no image in the last 2 seconds.")


def test_refusals_are_told_by_reason(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/#/operate")
    assert shown(page)["refused in the last 2 seconds"] == "none"
    httpx.post(f"{server}/v1/predict", content=b"x", headers={"content-type": "image/png"})
    row = page.get_by_role("row", name="refused in the last 2 seconds")
    expect(row).to_contain_text("undecodable-image 1")


def test_it_is_paused_and_goes_on(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/#/operate")
    shown(page)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#view p[role=status]")).to_have_text("Paused.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2_500)
    assert asked == []
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#view p[role=status]")).to_contain_text("Idle")


def test_a_service_that_is_gone_is_unreachable(tmp_path: Path, open_page: OpenPage) -> None:
    with serve(tmp_path, ROOT / "models" / "artifacts") as process:
        page = open_page(f"{process.wait_for('serving')['url']}/#/operate")
        shown(page)
    expect(page.locator("#view p[role=status]")).to_contain_text("Unreachable")


def test_metrics_are_read_as_prometheus_writes_them(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    address = page.locator("script[type=module]").get_attribute("src")
    assert address is not None
    found = page.evaluate(
        """async ([address, text]) => {
          const { parseMetrics, total, growth, quantileBound } = await import(address);
          const after = parseMetrics(text), wanted = { stage: "total" };
          const bound = (share) => quantileBound([], after, "h", wanted, share);
          return [after.length, after[4].labels.reason, total(after, "c_total"),
            total(after, "c_total", { reason: "d" }), growth(after, [], "c_total"),
            bound(0.1), bound(0.5), bound(0.9), String(bound(0.91)),
            quantileBound(after, after, "h", wanted, 0.5)];
        }""",
        [f"{server}/{address.replace('app.js', 'numbers.js')}", METRICS],
    )
    assert found == [6, 'a "b" {c}', 48, 45, None, 0.1, 1, 1, "Infinity", None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_live_view(server: str, open_page: OpenPage, scheme: str) -> None:
    page = open_page(
        f"{server}/#/operate", color_scheme=scheme, viewport={"width": 360, "height": 700}
    )
    shown(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    page.evaluate(f"{AXE};0")
    found = page.evaluate("() => axe.run(document).then((result) => result.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
