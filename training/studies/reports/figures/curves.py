"""Figures over the epochs: the learning curves, and when an accuracy was reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, ScalarFormatter

from training.studies.measures import SHORTEST_TAIL
from training.studies.reports.analysis import Analysis, CellResult
from training.studies.reports.figures.style import GREY, canvas, colour_of

STRIPS = (
    ("test_accuracy_last_fifth", "last fifth"),
    ("test_accuracy_last", "last"),
    ("test_accuracy_best", "best\n(selected)"),
)


def learning_curves(analysis: Analysis) -> Figure | None:
    """Draw every run's accuracy over the epochs, and what is reported of it at the margin."""
    title = "; ".join(
        f"{cell.name} {100 * sum(cell.summary.scores) / len(cell.summary.scores):.1f} % "
        f"(of {max(row.epochs for row in cell.rows)} epochs)"
        for cell in analysis.cells
    )
    figure, (axes, strips) = canvas(
        analysis,
        f"Test accuracy over the last fifth: {title}",
        columns=2,
        width_ratios=(3, 1),
        marks="Thin: runs; thick: their mean; band: lowest to highest; dashed: training images, "
        "augmented; bar at the bottom: the last fifth; dotted: the accuracies to be reached. "
        "Right: each run; best is its highest epoch, selected on the test images.",
    )
    for index, cell in enumerate(analysis.cells):
        colour = colour_of(cell.levels.get("network", cell.levels.get("norm", "")))
        _curves(axes, analysis, cell, colour)
        for x, (measure, _) in enumerate(STRIPS):
            values = [100 * row.measures[measure] for row in cell.rows if measure in row.measures]
            strips.plot(
                [x + 0.18 * (index - 1)] * len(values),
                values,
                "o",
                color=colour,
                alpha=0.8,
                markersize=5,
                gid="run",
            )
    for threshold in analysis.study.thresholds:
        for one in (axes, strips):
            one.axhline(100 * threshold, color=GREY, linewidth=0.6, linestyle=":")
    axes.set(xlabel="epoch", ylabel="accuracy, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    strips.set_xticks(range(len(STRIPS)), [name for _, name in STRIPS], fontsize=8)
    strips.sharey(axes)
    strips.set_xlim(-0.5, len(STRIPS) - 0.5)
    return figure


def _curves(axes: Axes, analysis: Analysis, cell: CellResult, colour: str) -> None:
    test, train = [], []
    for row in cell.rows:
        points = [
            point
            for point in analysis.curves
            if point.run == row.run and not point.layer and "train_accuracy" in point.values
        ]
        if not points:
            continue
        epochs = [point.epoch for point in points]
        test.append([100 * point.values["test_accuracy"] for point in points])
        train.append([100 * point.values["train_accuracy"] for point in points])
        axes.plot(epochs, test[-1], color=colour, linewidth=0.6, alpha=0.6)
    if not test:
        return
    axes.plot(epochs, _mean(test), color=colour, linewidth=2.2)
    axes.plot(epochs, _mean(train), color=colour, linewidth=1, linestyle="--")
    if len(test) > 1:
        low, high = ([bound(column) for column in zip(*test, strict=True)] for bound in (min, max))
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15)
    tail = max(SHORTEST_TAIL, math.ceil(len(epochs) / 5))
    axes.axvspan(epochs[-min(tail, len(epochs))], epochs[-1], ymax=0.02, color=colour, alpha=0.8)
    axes.annotate(
        cell.name,
        (epochs[-1], _mean(test)[-1]),
        xytext=(4, 0),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
    )


def _mean(lines: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*lines, strict=True)]


def crossings(analysis: Analysis) -> Figure | None:
    """Draw the epoch at which each run reached an accuracy; an arrow where it never did."""
    found = analysis.crossings
    if not found:
        return None
    figure, (axes,) = canvas(
        analysis,
        _bound_title(analysis),
        height=1.2 + 0.85 * len(found),
        marks="Dots: runs; arrow: not reached by the last epoch.",
    )
    for y, one in enumerate(found):
        for index, arm in enumerate(one.arms):
            colour, at = colour_of(arm.arm), y + 0.18 * (index - 1)
            for arrival in arm.arrivals:
                if arrival is None:
                    axes.annotate(
                        "",
                        (arm.horizon * 1.25, at),
                        (arm.horizon, at),
                        arrowprops={"arrowstyle": "->", "color": colour},
                    )
                else:
                    axes.plot(arrival, at, "o", color=colour, markersize=6, alpha=0.8, gid="run")
            if not y:
                first = min(arm.arrived, default=arm.horizon)
                axes.annotate(
                    arm.arm,
                    (first, at),
                    xytext=(-8, 0),
                    ha="right",
                    va="center",
                    textcoords="offset points",
                    color=colour,
                    fontweight="bold",
                )
        axes.annotate(
            (one.sentences or ("",))[-1].split("; ")[-1],
            (1.0, y),
            va="center",
            ha="right",
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=GREY,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 7, 10, 15, 20, 30, 50]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    horizon = max(arm.horizon for one in found for arm in one.arms)
    axes.set(xlim=(1, 6 * horizon), xlabel="epochs (log)")
    axes.set_yticks(range(len(found)), [f"{100 * one.threshold:g} %" for one in found])
    axes.grid(axis="y", visible=False)
    return figure


def _bound_title(analysis: Analysis) -> str:
    last = [one for one in analysis.crossings if one.sentences]
    if not last:
        return analysis.study.question
    return f"To {100 * last[1 % len(last)].threshold:g} %: {last[1 % len(last)].sentences[-1]}"
