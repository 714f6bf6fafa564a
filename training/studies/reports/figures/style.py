"""How all figures look: one colour a norm, every run a dot, a title that answers, a caption."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis
from training.studies.statistics.cells import CHANCE
from training.studies.statistics.intervals import Estimate

# Text stays text and ids do not change from run to run, so the files are small and diff well.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "foldnorm", "font.size": 10}
GREY, ACCENT = "#6b6b6b", "#0072b2"
# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS: Mapping[str, str] = {
    "none": GREY,
    "baseline": GREY,
    "whole-pixels": "#d55e00",
    "logits": "#56b4e9",
    "after": "#56b4e9",
    "conv-only": "#009e73",
    "dense-only": "#cc79a7",
    "noisy": "#d55e00",
    "group": "#e69f00",
    "layer": "#cc79a7",
}
MARKERS = ("o", "s", "D", "^", "v", "P")
WIDTH = 8.5  # inches
CAPTION_COLUMNS = 118


def colour_of(level: str) -> str:
    """Return the colour of a norm or network; batch norm's is the accent."""
    return COLOURS.get(level, ACCENT)


def canvas(
    analysis: Analysis,
    title: str,
    *,
    columns: int = 1,
    rows: int = 1,
    height: float = 4.6,
    width_ratios: Sequence[float] | None = None,
    marks: str = "Dots: runs; line: mean and 95 % interval (t).",
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with its title and caption, and its axes row by row.

    `marks` says in the caption what is drawn.
    """
    caption = textwrap.fill(f"{_caption(analysis)} {marks}", CAPTION_COLUMNS)
    lines = caption.count("\n") + 1
    titled = textwrap.fill(title, 88)
    figure = Figure(figsize=(WIDTH, height + 0.2 * lines + 0.2 * titled.count("\n")))
    figure.set_layout_engine("constrained")
    figure.suptitle(titled, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=GREY)
    axes = figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", alpha=0.25)
    return figure, list(axes.flat)


def _caption(analysis: Analysis) -> str:
    preset = analysis.study.preset(analysis.preset)
    planned = len(analysis.study.cells())
    missing = (
        "" if len(analysis.cells) == planned else f" ({len(analysis.cells)} of {planned} cells)"
    )
    note = f" {preset.note[0].upper()}{preset.note[1:]}." if preset.note else ""
    return f"{len(analysis.rows)} runs{missing}.{note}"


def dots(
    axes: Axes,
    x: float,
    scores: Sequence[float],
    colour: str,
    *,
    diverged: Sequence[bool] = (),
    marker: str = "o",
) -> None:
    """Draw each run as a dot, in per cent; one that diverged is hollow."""
    lost = diverged or [False] * len(scores)
    for index, (score, hollow) in enumerate(zip(scores, lost, strict=True)):
        axes.plot(
            x + 0.06 * (index - (len(scores) - 1) / 2),
            100 * score,
            marker=marker,
            markersize=5,
            color=colour,
            markerfacecolor="white" if hollow else colour,
            alpha=0.8,
            linestyle="none",
            gid="run",
        )


def interval(axes: Axes, x: float, estimate: Estimate | None, colour: str) -> None:
    """Draw a mean and its interval, in per cent, if there is one."""
    if estimate is None:
        return
    if estimate.has_interval:
        ends = [min(100.0, max(0.0, 100 * end)) for end in (estimate.low, estimate.high)]
        axes.plot([x, x], ends, color=colour, linewidth=1.5)
    axes.plot([x - 0.12, x + 0.12], [100 * estimate.value] * 2, color=colour, linewidth=2.5)


def chance_line(axes: Axes) -> None:
    """Draw where guessing stands."""
    axes.axhline(100 * CHANCE, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        "chance",
        (1, 100 * CHANCE),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8,
        color=GREY,
    )


def save(figure: Figure, folder: Path, name: str, *, png: bool = False) -> None:
    """Write an SVG that is the same for the same data, and on request a PNG."""
    with mpl.rc_context(STYLE):
        metadata = {"Date": None, "Creator": "foldnorm study report"}
        figure.savefig(folder / f"{name}.svg", format="svg", metadata=metadata)
        if png:
            figure.savefig(folder / f"{name}.png", format="png", dpi=150)
