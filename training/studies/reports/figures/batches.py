"""Figures of batches: the gap by their size, and what statistics and neighbours do."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis
from training.studies.reports.figures.style import ACCENT, GREY, canvas, colour_of, dots

STOPS = (
    ("train_test_gap_at_images", "after as many images"),
    ("train_test_gap_at_updates", "after as many updates"),
)
PRECISE = (64, 256, 1_000, 4_000, 16_000)
MOMENTA = ("0.1", "0.001")
NEIGHBOURS = "answers_changed_by_neighbours"
INFERENCE = "answers_changed_in_inference_mode"


def gaps(analysis: Analysis) -> Figure | None:
    """Draw the gap over the batch size twice: at matched images, and at matched updates."""
    title = "The same runs, read after as many images and after as many updates"
    figure, panels = canvas(analysis, title, columns=2, marks="Dots: runs; line: their mean.")
    for axes, (measure, name) in zip(panels, STOPS, strict=True):
        for norm in analysis.study.factors["norm"]:
            means = []
            for cell in analysis.cells:
                values = [row.measures[measure] for row in cell.rows if measure in row.measures]
                if cell.levels["norm"] == norm and values:
                    x = math.log2(float(cell.levels["batch"]))
                    dots(axes, x, values, colour_of(norm))
                    means.append((x, 100 * sum(values) / len(values)))
            if means:
                axes.plot(*zip(*means, strict=True), color=colour_of(norm), linewidth=2)
                axes.annotate(
                    norm,
                    means[-1],
                    xytext=(4, 0),
                    textcoords="offset points",
                    color=colour_of(norm),
                    fontweight="bold",
                )
        sizes = list(analysis.study.factors["batch"])
        axes.set_xticks([math.log2(float(size)) for size in sizes], sizes)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("batch size")
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))
    panels[0].set_ylabel("training minus test accuracy, points")
    return figure


def statistics(analysis: Analysis) -> Figure | None:
    """Draw accuracy by how the statistics were estimated, epoch by epoch, and the leakage."""
    measured = [
        point
        for point in analysis.curves
        if f"precise_bn_accuracy_{PRECISE[0]}_images" in point.values
    ]
    epochs = sorted({point.epoch for point in measured})
    if not epochs:
        return None
    last = [point.values for point in measured if point.epoch == epochs[-1]]
    counts = [n for n in PRECISE if f"precise_bn_accuracy_{n}_images" in last[0]]
    best = (
        100 * sum(values[f"precise_bn_accuracy_{counts[-1]}_images"] for values in last) / len(last)
    )
    raw = 100 * sum(values["test_accuracy"] for values in last) / len(last)
    title = (
        f"The same weights: {raw:.1f} % with the running averages, {best:.1f} % with statistics "
        f"from {counts[-1]:,} training images (epoch {epochs[-1]:g})"
    )
    figure, panels = canvas(
        analysis,
        title,
        columns=len(epochs) + 1,
        height=3.8,
        marks="Blue: statistics estimated anew from so many training images, a line a run; "
        "horizontal: running averages with a momentum of .01 (grey), .1 (orange, dashed) and .001 "
        "(orange, dotted). Right: answers of 512 that other images in the batch change.",
    )
    for axes, epoch in zip(panels, epochs, strict=False):
        for point in (point for point in measured if point.epoch == epoch):
            values = [100 * point.values[f"precise_bn_accuracy_{n}_images"] for n in counts]
            axes.plot(
                [math.log10(n) for n in counts],
                values,
                "o-",
                color=ACCENT,
                markersize=4,
                linewidth=1,
                alpha=0.8,
                gid="run",
            )
            axes.axhline(100 * point.values["test_accuracy"], color=GREY, linewidth=1)
            for style, momentum in zip(("--", ":"), MOMENTA, strict=True):
                axes.axhline(
                    100 * point.values[f"accuracy_momentum_{momentum}"],
                    color="#d55e00",
                    linewidth=0.8,
                    linestyle=style,
                )
        axes.set_title(f"epoch {epoch:g}", fontsize=9)
        axes.set_xticks([2, 3, 4], ["100", "1k", "10k"], fontsize=7)
        axes.set_ylim(0, 100)
    panels[0].set_ylabel("test accuracy, %", fontsize=8)
    panels[0].set_xlabel("images for the statistics", fontsize=8)
    leak = panels[len(epochs)]
    for x, measure in enumerate((NEIGHBOURS, INFERENCE)):
        changed = [values[measure] for values in last]
        leak.plot(
            [x + 0.1 * (i - 1) for i in range(len(changed))],
            changed,
            "o",
            color=(ACCENT, GREY)[x],
            gid="run",
        )
    leak.set_xticks([0, 1], ["training\nmode", "inference\nmode"], fontsize=7)
    leak.set_xlim(-0.5, 1.5)
    leak.set_title("of 512 answers\nchanged", fontsize=9)
    return figure
