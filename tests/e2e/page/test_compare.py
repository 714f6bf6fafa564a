"""Comparing what is served: every number on screen and in the file is the API's."""

from __future__ import annotations

import csv
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.conftest import OpenPage

pytestmark = pytest.mark.systems
AXE = (Path(__file__).with_name("axe.min.js")).read_text(encoding="utf-8")


@pytest.fixture
def evaluations(server: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{server}/v1/compare").json()
    return answer


def rows(page: Page, name: str) -> dict[str, list[str]]:
    table = page.get_by_role("region", name=name).locator("tbody tr")
    expect(table.first).to_be_visible()
    return {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in table.all()
    }


def test_networks_stand_against_the_least_right_one_with_the_api_s_numbers(
    server: str, open_page: OpenPage, evaluations: dict[str, Any]
) -> None:
    page = open_page(f"{server}/#/compare")
    shown = rows(page, "Evaluations")
    assert list(shown) == [f"{one['name']}@{one['version']}" for one in evaluations["models"]]
    baseline = "keras-baseline@1.1.0"
    assert page.get_by_label("Against").input_value() == baseline
    for one in evaluations["models"]:
        test, cells = one["test"], shown[f"{one['name']}@{one['version']}"]
        low, high = test["accuracy_interval_95"]
        assert cells[0] == f"{test['accuracy']:.2%} ({low:.2%} to {high:.2%})"
        assert cells[3:5] == [
            f"{test['loss']:.4f}",
            f"{test['expected_calibration_error']:.4f}",
        ]
    (pair,) = (
        pair
        for pair in evaluations["pairs"]
        if {pair["first"], pair["second"]} == {baseline, "keras-bn@1.1.0"}
    )
    gained = 100 * abs(pair["accuracy_difference"])
    assert shown["keras-bn@1.1.0"][1] == f"+{gained:.2f} points"
    assert shown["keras-bn@1.1.0"][2] == "below 1 in 10¹²"
    assert shown[baseline][1:3] == ["the baseline", ""]


def test_another_baseline_turns_the_differences_round_and_stays_in_the_address(
    server: str, open_page: OpenPage
) -> None:
    page = open_page(f"{server}/#/compare")
    before = rows(page, "Evaluations")["keras-bn@1.1.0"][1]
    page.get_by_label("Against").select_option("keras-bn@1.1.0")
    after = rows(page, "Evaluations")["keras-baseline@1.1.0"][1]
    assert after == before.replace("+", "-")
    page.reload()
    assert rows(page, "Evaluations")["keras-baseline@1.1.0"][1] == after


def test_the_slider_finds_the_first_epoch_of_each_history(
    server: str, open_page: OpenPage, evaluations: dict[str, Any]
) -> None:
    page = open_page(f"{server}/#/compare")
    slider = page.get_by_role("slider")
    found = []
    for reach in (0.75, 0.86, 0.95):
        slider.fill(str(reach))
        expect(page.locator("output")).to_have_text(f"{reach:.2%}")
        table = page.get_by_role("table", name="How soon does each reach an accuracy?")
        shown = {
            row.locator("th").inner_text(): row.locator("td").first.inner_text()
            for row in table.locator("tbody tr").all()
        }
        expected = {
            f"{one['name']}@{one['version']}": str(
                next((e["epoch"] for e in one["history"] if e["test_accuracy"] >= reach), "never")
            )
            for one in evaluations["models"]
        }
        assert shown == expected
        found.append(expected)
    assert all(one != other for one, other in pairwise(found))


def test_the_file_holds_what_the_table_shows(
    server: str, open_page: OpenPage, evaluations: dict[str, Any]
) -> None:
    page = open_page(f"{server}/#/compare")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "foldnorm-compare.csv"
    table = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    for row, one in zip(table, evaluations["models"], strict=True):
        assert row["network"] == f"{one['name']}@{one['version']}"
        assert float(row["right answers"]) == one["test"]["accuracy"]
        assert float(row["loss"]) == one["test"]["loss"]
        graph = one["graphs"].get("folded") or one["graphs"]["plain"]
        assert int(row["parameters"]) == graph["parameters"]
    p_values = [float(row["McNemar p"]) for row in table if row["McNemar p"]]
    assert len(p_values) == 3
    assert max(p_values) < 1e-12


def test_pairs_are_turned_with_their_counts(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    address = page.locator("script[type=module]").get_attribute("src")
    assert address is not None
    turned = page.evaluate(
        """async (address) => {
          const { pairOf, asCsv } = await import(address);
          const mcnemar = { images: 9, only_first_right: 1, only_second_right: 5, p_value: 0.2 };
          const pairs = [{ first: "a", second: "b", accuracy_difference: 0.25, mcnemar }];
          return [pairOf(pairs, "b", "a"), pairOf(pairs, "a", "b"), pairOf(pairs, "a", "c"),
            asCsv(["x"], [['say "a", b'], [null]])];
        }""",
        f"{server}/{re.sub('app.js', 'numbers.js', address)}",
    )
    counts = {"images": 9, "only_first_right": 5, "only_second_right": 1, "p_value": 0.2}
    assert turned[0]["accuracy_difference"] == -0.25
    assert turned[0]["mcnemar"] == counts
    assert turned[1]["accuracy_difference"] == 0.25
    assert turned[2] is None
    assert turned[3] == 'x\n"say ""a"", b"\n\n'


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_comparison(server: str, open_page: OpenPage, scheme: str) -> None:
    page = open_page(f"{server}/#/compare", color_scheme=scheme)
    rows(page, "Evaluations")
    page.evaluate(f"{AXE};0")
    found = page.evaluate("() => axe.run(document).then((result) => result.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


@pytest.mark.parametrize("view", ["try", "compare"])
def test_nothing_is_wider_than_a_phone(server: str, open_page: OpenPage, view: str) -> None:
    page = open_page(f"{server}/#/{view}", viewport={"width": 360, "height": 740})
    page.get_by_role("heading", level=2).nth(1).wait_for()
    if view == "try":
        page.get_by_role("button", name="Example: cat").click()
        page.locator(".answer").first.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360


def test_views_are_reached_by_keyboard_and_say_which_one_is_open(
    server: str, open_page: OpenPage
) -> None:
    page = open_page(server)
    page.get_by_text("Try a picture").wait_for()
    page.get_by_role("link", name="Compare").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Which network is better")).to_be_visible()
    current = page.locator("nav [aria-current=page]")
    expect(current).to_have_text("Compare")
    page.go_back()
    expect(page.get_by_text("Try a picture")).to_be_visible()
