"""The summary for people: aligned columns, or Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rig.spread import Spread
    from benchmarks.serving_summary import Summary, SystemSummary

HEADINGS = (
    "load",
    "system",
    "images/s",
    "min..max",
    "p50 ms",
    "p99 ms",
    "errors",
    "x naive-2",
    "of ceiling",
)
SYSTEM_HEADINGS = ("system", "cold start s", "processes", "MiB in all", "MiB largest")


def table(summary: Summary, *, markdown: bool = False) -> str:
    """Return both tables as text."""
    loads = [HEADINGS, *_load_rows(summary)]
    systems = [SYSTEM_HEADINGS, *_system_rows(summary)]
    return "\n\n".join(_render(rows, markdown) for rows in (loads, systems)) + "\n"


def _load_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    for load, by_system in summary.loads.items():
        for system, figures in by_system.items():
            yield (load, system, *_figures(figures))


def _figures(figures: SystemSummary) -> tuple[str, ...]:
    rate = figures["images_per_s"]
    if rate is None:
        return ("failed", "", "", "", str(len(figures["failures"])), "", "")
    ratios = figures["throughput_ratio"]
    return (
        f"{rate['median']:,.0f}",
        f"{rate['min']:,.0f}..{rate['max']:,.0f}",
        _median(figures["p50_ms"], "{:.2f}"),
        _median(figures["p99_ms"], "{:.2f}"),
        str(figures["errors"] + len(figures["failures"])),
        _median(ratios.get("naive-2"), "{:.2f}"),
        _median(ratios.get("ceiling"), "{:.2f}"),
    )


def _system_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    for system, figures in summary.systems.items():
        known = cast("dict[str, Spread | None]", figures)
        if known["cold_start_s"] is not None:
            yield (
                system,
                _median(known["cold_start_s"], "{:.2f}"),
                _median(known["processes"], "{:.0f}"),
                _median(known["memory_mib_total"], "{:.0f}"),
                _median(known["memory_mib_largest"], "{:.0f}"),
            )


def _median(figures: Spread | None, form: str) -> str:
    return "" if figures is None else form.format(figures["median"])


def _render(rows: list[tuple[str, ...]], markdown: bool) -> str:
    if markdown:
        rows = [rows[0], tuple("---" for _ in rows[0]), *rows[1:]]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
