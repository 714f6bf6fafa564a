"""The metrics table of docs/operation.md and the dashboard speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from service.app import build_app, build_state
from service.settings import Settings
from tests.asgi_client import AppClient

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operation.md"
DASHBOARD = ROOT / "deploy" / "grafana" / "foldnorm.json"
OWN = ("foldnorm_", "nv_inference_")
ADDED_BY_PROMETHEUS = {"job", "instance"}
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)


class Documented(NamedTuple):
    type: str
    labels: tuple[str, ...]
    meaning: str


@pytest.fixture(scope="module")
def exposition(artifacts: Path, png: Callable[[NDArray[np.uint8]], bytes]) -> str:
    """A real answer of `/metrics`, after one of everything that is counted."""
    settings = Settings(
        artifacts=artifacts,
        cache_answers=64,
        shadow_fraction=1.0,
        shadow_model="tiny-plain",
        cuda="off",
    )
    headers = {"content-type": "image/png"}
    with AppClient(build_app(build_state(settings))) as client:
        for image in [*IMAGES, IMAGES[0]]:
            assert client.post("/v1/predict", content=png(image), headers=headers).is_success
        assert client.post("/v1/predict", content=b"none", headers=headers).is_client_error
        text: str = client.get("/metrics").text
    return text


@pytest.fixture(scope="module")
def metrics(exposition: str) -> dict[str, Documented]:
    """Every metric of our own, as it is exposed."""
    return {
        full_name(family): Documented(
            "untyped" if family.type == "unknown" else family.type,
            tuple(sorted({label for one in family.samples for label in one.labels} - {"le"})),
            family.documentation,
        )
        for family in text_string_to_metric_families(exposition)
        if family.name.startswith(OWN) and not family.name.endswith("_created")
    }


def full_name(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def table() -> dict[str, Documented]:
    """The rows of the page."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {
        name: Documented(kind, tuple(sorted(re.findall(r"`(\w+)`", labels))), meaning)
        for name, kind, labels, meaning in rows
    }


def queries() -> Iterator[str]:
    """Every query of the dashboard: its panels' and its variables'."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def unknown_names(query: str, metrics: dict[str, Documented]) -> set[str]:
    """Return the metrics that a query asks for and nobody exposes."""
    names = set(re.findall(r"\b(?:foldnorm|nv_inference)_\w+", query))
    return {name for name in names if re.sub(r"_(bucket|sum|count)$", "", name) not in metrics} - {
        *metrics
    }


def unknown_labels(query: str, metrics: dict[str, Documented]) -> set[str]:
    """Return the labels that a query uses and none of its metrics has."""
    names = re.findall(r"\b(?:foldnorm|nv_inference)_\w+", query)
    known = {"le"} | ADDED_BY_PROMETHEUS
    for name in names:
        metric = metrics.get(name) or metrics.get(re.sub(r"_(bucket|sum|count)$", "", name))
        known |= set(metric.labels) if metric else set()
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", query))
    used = set(re.findall(r"\w+", grouped)) | set(re.findall(r"[{,](\w+)[!=]?[=~]", query))
    return used - known


def test_the_table_has_every_metric_as_it_is_exposed_and_no_other(
    metrics: dict[str, Documented],
) -> None:
    assert table() == metrics


def test_the_table_lists_metrics_in_the_order_of_the_answer(metrics: dict[str, Documented]) -> None:
    assert list(table()) == list(metrics)


def test_every_query_of_the_dashboard_names_metrics_and_labels_that_there_are(
    metrics: dict[str, Documented],
) -> None:
    asked = list(queries())
    assert len(asked) > 30
    assert {query: unknown_names(query, metrics) for query in asked} == {q: set() for q in asked}
    assert {query: unknown_labels(query, metrics) for query in asked} == {q: set() for q in asked}


def test_every_metric_of_our_own_is_on_the_dashboard(metrics: dict[str, Documented]) -> None:
    everything = " ".join(queries())
    assert [name for name in metrics if name not in everything] == []


def test_a_misspelt_metric_and_a_label_that_it_has_not_are_found(
    metrics: dict[str, Documented],
) -> None:
    """The negative control."""
    assert unknown_names("rate(foldnorm_request_total[1m])", metrics) == {"foldnorm_request_total"}
    query = 'sum by (modle) (rate(foldnorm_images_total{versoin="1"}[1m]))'
    assert unknown_names(query, metrics) == set()
    assert unknown_labels(query, metrics) == {"modle", "versoin"}


def test_every_panel_and_row_of_the_dashboard_has_a_place_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
