"""The fold of each network: every number on screen is its manifest's."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from models.bundle import load_bundle
from tests.e2e.page.conftest import ROOT, OpenPage, serve

pytestmark = pytest.mark.systems
ARTIFACTS = ROOT / "models" / "artifacts"
AXE = (Path(__file__).with_name("axe.min.js")).read_text(encoding="utf-8")


def table(page: Page, name: str) -> dict[str, list[str]]:
    rows = page.get_by_role("region", name=name, exact=True).locator("tbody tr")
    expect(rows.first).to_be_visible()
    return {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()
    }


@pytest.mark.parametrize("name", ["air-tiny", "air94", "keras-bn"])
def test_each_batch_norm_is_shown_with_the_layer_that_took_it_up(
    server: str, open_page: OpenPage, name: str
) -> None:
    page = open_page(f"{server}/#/fold")
    page.get_by_role("combobox").select_option(f"{name}@1.1.0")
    manifest = load_bundle(ARTIFACTS / f"{name}-1.1.0").manifest
    fold = manifest.fold
    assert fold is not None
    shown = table(page, "Batch norms")
    assert list(shown) == [layer.norm for layer in fold.layers]
    for layer in fold.layers:
        channels, into, scale = shown[layer.norm]
        assert (channels, into) == (str(layer.channels), layer.into or f"stays: {layer.reason}")
        assert layer.largest_scale is not None
        assert float(scale) == pytest.approx(layer.largest_scale, rel=1e-3)
    unfolded, folded = manifest.graphs["unfolded"], manifest.graphs["folded"]
    costs = table(page, "Before and after")
    for operator in unfolded.nodes.keys() | folded.nodes.keys():
        assert costs[operator] == [
            str(graph.nodes.get(operator, 0)) for graph in (unfolded, folded)
        ]
    assert costs["bytes of the file"] == [f"{g.size_bytes:,}" for g in (unfolded, folded)]
    proof = table(page, "Proof")
    assert proof["test images that were compared"] == [f"{fold.proof.images:,}"]
    assert float(proof["error of float32 after it"][0]) == pytest.approx(
        fold.proof.folded_error_float32, rel=0.06
    )
    assert proof["… that rounding does not explain"] == ["0"]
    expect(page.get_by_role("heading", name="The proof holds")).to_be_visible()


def test_the_address_names_the_network(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/#/fold?network=keras-bn%401.1.0")
    layers = httpx.get(f"{server}/v1/models/keras-bn").json()["fold"]["layers"]
    assert list(table(page, "Batch norms")) == [layer["norm"] for layer in layers]


def test_a_server_without_a_fold_says_so(tmp_path: Path, open_page: OpenPage) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "keras-baseline-1.1.0").symlink_to(ARTIFACTS / "keras-baseline-1.1.0")
    with serve(tmp_path, folder) as process:
        page = open_page(f"{process.wait_for('serving')['url']}/#/fold")
        expect(page.get_by_text("No network that is served had batch norms")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_fold(server: str, open_page: OpenPage, scheme: str) -> None:
    page = open_page(
        f"{server}/#/fold", color_scheme=scheme, viewport={"width": 360, "height": 700}
    )
    table(page, "Proof")
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    page.evaluate(f"{AXE};0")
    found = page.evaluate("() => axe.run(document).then((result) => result.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
