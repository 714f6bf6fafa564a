"""Figures of what goes on inside: distributions layer by layer, and the loss around the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis
from training.studies.reports.figures.style import canvas, colour_of
from training.studies.rows import Row

Series = dict[int, list[float]]  # step -> a value of each run

LANDSCAPE = (
    ("loss_along_gradient_min", "loss_along_gradient_max", "loss along the gradient"),
    ("gradient_change", "gradient_change", "change of the gradient / its norm"),
    ("effective_smoothness", "effective_smoothness", "effective smoothness"),
)


def percentiles(analysis: Analysis) -> Figure | None:
    """Draw the middle 70 % of what enters each activation, over the steps, for each norm."""
    chosen = _arms(analysis)
    layers = _layers(analysis)
    if not layers or not chosen:
        return None
    hidden = [layer for layer in layers if layer != "logits"]
    moved = ", ".join(
        f"{max(_shift(analysis, runs, layer) for layer in hidden):.1f} ({norm})"
        for norm, runs in chosen.items()
    )
    title = f"The median of what enters an activation moves by up to {moved} times its first spread"
    figure, panels = canvas(
        analysis,
        title,
        columns=len(layers),
        rows=len(chosen),
        height=2.3 * len(chosen) + 0.6,
        marks="Line: median of the units and images of a fixed batch, with the batch's own "
        "statistics as in training; band: 15th to 85th percentile, the spread; both the mean over "
        "the runs at the higher rate, over the steps (logarithmic). Each panel has its own scale.",
    )
    for row, (norm, runs) in enumerate(chosen.items()):
        for column, layer in enumerate(layers):
            axes = panels[row * len(layers) + column]
            low, middle, high = _quantiles(analysis, runs, layer)
            steps = [step + 1 for step in middle]
            axes.fill_between(
                steps, list(low.values()), list(high.values()), color=colour_of(norm), alpha=0.25
            )
            axes.plot(steps, list(middle.values()), color=colour_of(norm), linewidth=1.5)
            axes.set_xscale("log")
            axes.tick_params(labelsize=7)
            if not row:
                axes.set_title(layer, fontsize=9)
            if not column:
                axes.set_ylabel(norm, color=colour_of(norm), fontweight="bold")
    return figure


def _quantiles(
    analysis: Analysis, runs: Sequence[Row], layer: str
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """Return the 15th, 50th and 85th percentile by step, as the training sees them."""
    suffix = "_batch_statistics"
    if not _series(analysis, runs, f"preactivation_p50{suffix}", layer):
        suffix = ""  # no batch norm
    low, middle, high = (
        _mean(_series(analysis, runs, f"preactivation_p{percent}{suffix}", layer))
        for percent in (15, 50, 85)
    )
    return low, middle, high


def _shift(analysis: Analysis, runs: Sequence[Row], layer: str) -> float:
    """Return how far the median goes from where it began, in units of the first spread."""
    low, middle, high = _quantiles(analysis, runs, layer)
    first, *later = middle
    spread = high[first] - low[first]
    return max((abs(middle[step] - middle[first]) / spread for step in later), default=0.0)


def landscape(analysis: Analysis) -> Figure | None:
    """Draw Santurkar's three measures over the steps, the band of the runs."""
    chosen = _arms(analysis)
    if not any(_series(analysis, runs, "effective_smoothness", "") for runs in chosen.values()):
        return None
    figure, panels = canvas(
        analysis,
        _smoothness_title(analysis),
        columns=3,
        height=3.6,
        marks="Line: mean of the runs; band: lowest to highest; both axes logarithmic.",
    )
    for axes, (lowest, highest, name) in zip(panels, LANDSCAPE, strict=True):
        for norm, runs in chosen.items():
            low, high = (_series(analysis, runs, measure, "") for measure in (lowest, highest))
            _band(axes, low, high, colour_of(norm), norm)
        axes.set_title(name, fontsize=9)
        axes.set(xscale="log", yscale="log", xlabel="steps")
    return figure


def _band(axes: Axes, low: Series, high: Series, colour: str, name: str) -> None:
    if not low:
        return
    steps = [step + 1 for step in low]
    bottom = [min(values) for values in low.values()]
    top = [max(values) for values in high.values()]
    axes.fill_between(steps, bottom, top, color=colour, alpha=0.25)
    middle = [(a + b) / 2 for a, b in zip(_mean(low).values(), _mean(high).values(), strict=True)]
    axes.plot(steps, middle, color=colour, linewidth=1.8)
    axes.annotate(
        name,
        (steps[-1], middle[-1]),
        xytext=(2, 0),
        textcoords="offset points",
        color=colour,
        fontsize=8,
    )


def _smoothness_title(analysis: Analysis) -> str:
    late = {
        norm: [
            row.measures["late_effective_smoothness"]
            for row in runs
            if "late_effective_smoothness" in row.measures
        ]
        for norm, runs in _arms(analysis).items()
    }
    means = ", ".join(f"{norm} {fmean(values):.3g}" for norm, values in late.items() if values)
    return f"Effective smoothness late in the training (lower is smoother): {means}"


def _arms(analysis: Analysis) -> Mapping[str, Sequence[Row]]:
    """Return the runs of each norm at the study's last rate."""
    rate = list(analysis.study.factors["rate"])[-1]
    return {
        cell.levels["norm"]: cell.rows for cell in analysis.cells if cell.levels["rate"] == rate
    }


def _layers(analysis: Analysis) -> list[str]:
    layers = []
    for point in analysis.curves:
        if "preactivation_p50" in point.values and point.layer not in layers:
            layers.append(point.layer)
    return layers


def _series(analysis: Analysis, rows: Sequence[Row], measure: str, layer: str) -> Series:
    runs = {row.run for row in rows}
    series: Series = {}
    for point in analysis.curves:
        if point.run in runs and point.layer == layer and measure in point.values:
            series.setdefault(point.step, []).append(point.values[measure])
    return dict(sorted(series.items()))


def _mean(series: Series) -> dict[int, float]:
    return {step: sum(values) / len(values) for step, values in series.items()}
