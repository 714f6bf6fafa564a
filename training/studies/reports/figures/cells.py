"""Figures of cells: every run of each, beside each other, over the rate, or as slopes."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis, CellResult
from training.studies.reports.figures.style import (
    GREY,
    MARKERS,
    canvas,
    chance_line,
    colour_of,
    dots,
    interval,
)
from training.studies.reports.wording import words

TRAINS = 0.3  # accuracy above which a cell counts as trained: three times chance


def cells(analysis: Analysis) -> Figure | None:
    """Draw the runs of all cells side by side, the colour by norm."""
    figure, (axes,) = canvas(analysis, _best_title(analysis), height=4.2)
    for x, cell in enumerate(analysis.cells):
        colour = _colour(cell)
        dots(axes, x - 0.15, cell.summary.scores, colour, diverged=cell.summary.diverged)
        interval(axes, x + 0.2, cell.summary.mean, colour)
    chance_line(axes)
    names = ["\n".join(cell.levels.values()) for cell in analysis.cells]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_ylabel(f"{_words(analysis.study.primary)}, %")
    return figure


def rates(analysis: Analysis) -> Figure | None:
    """Draw accuracy over the learning rate, and under it the range that trains."""
    norms = list(analysis.study.factors["norm"])
    ranges = {norm: _range_that_trains(analysis, norm) for norm in norms}
    title = "; ".join(f"{norm} trains over {_decades(ranges[norm])}" for norm in norms)
    marks = "Dots: runs, side by side; line: their mean; bars: where every run passes 30 %."
    figure, (axes,) = canvas(analysis, title[0].upper() + title[1:], marks=marks)
    for row, norm in enumerate(norms):
        chosen = [cell for cell in analysis.cells if cell.levels["norm"] == norm]
        means = []
        for cell in chosen:
            x = math.log10(float(cell.levels["rate"]))
            colour = colour_of(norm)
            dots(axes, x, cell.summary.scores, colour, diverged=cell.summary.diverged)
            means.append((x, 100 * sum(cell.summary.scores) / len(cell.summary.scores)))
        axes.plot(*zip(*means, strict=True), color=colour_of(norm), linewidth=2) if means else None
        if means:
            axes.annotate(
                norm,
                means[len(means) // 2],
                color=colour_of(norm),
                fontweight="bold",
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
            )
        trained = ranges[norm]
        if trained:
            low, high = trained
            axes.plot(
                [math.log10(low), math.log10(high)],
                [2 + 3 * row] * 2,
                linewidth=5,
                color=colour_of(norm),
                solid_capstyle="butt",
                alpha=0.6,
            )
    chance_line(axes)
    ticks = list(analysis.study.factors["rate"])
    axes.set_xticks([math.log10(float(tick)) for tick in ticks], ticks)
    axes.set(xlabel="learning rate", ylabel=f"{_words(analysis.study.primary)}, %", ylim=(0, 100))
    return figure


def slopes(analysis: Analysis) -> Figure | None:
    """Draw what the norm changes, each seed a line, one panel for each level of the others."""
    others: dict[tuple[str, ...], dict[str, CellResult]] = {}
    for cell in analysis.cells:
        key = tuple(level for factor, level in cell.levels.items() if factor != "norm")
        others.setdefault(key, {})[cell.levels["norm"]] = cell
    if not others:
        return None
    norms = list(analysis.study.factors["norm"])
    figure, panels = canvas(analysis, _contrast_title(analysis), columns=len(others), height=3.8)
    for axes, (key, found) in zip(panels, others.items(), strict=True):
        axes.set_title("\n".join(key), fontsize=9)
        for x, norm in enumerate(norms):
            if norm in found:
                summary = found[norm].summary
                dots(axes, x, summary.scores, colour_of(norm), diverged=summary.diverged)
                interval(axes, x + (0.25 if x else -0.25), summary.mean, colour_of(norm))
        if all(norm in found for norm in norms):
            for pair in zip(*(found[norm].summary.scores for norm in norms), strict=False):
                axes.plot(range(len(norms)), [100 * score for score in pair], color=GREY, alpha=0.4)
        chance_line(axes)
        axes.set(xlim=(-0.6, len(norms) - 0.4), ylim=(0, 100))
        axes.set_xticks(range(len(norms)), norms)
    panels[0].set_ylabel(f"{_words(analysis.study.primary)}, %")
    return figure


def forest(analysis: Analysis) -> Figure | None:
    """Draw the contrasts by size, each with its interval, over the band that does not matter."""
    found = sorted(
        (one for one in analysis.contrasts if one.estimate is not None),
        key=lambda one: one.estimate.value if one.estimate else 0,
    )
    if not found:
        return None
    figure, (axes,) = canvas(analysis, _contrast_title(analysis), height=1.4 + 0.45 * len(found))
    axes.axvspan(
        -100 * analysis.study.smallest, 100 * analysis.study.smallest, color=GREY, alpha=0.15
    )
    axes.axvline(0, color=GREY, linewidth=0.8)
    for y, one in enumerate(found):
        estimate = one.estimate
        assert estimate is not None, "those without one were left out"
        colour = colour_of("batch") if str(one.verdict) != "undecided" else GREY
        if estimate.has_interval:
            axes.plot([100 * estimate.low, 100 * estimate.high], [y, y], color=colour, linewidth=2)
        axes.plot(100 * estimate.value, y, MARKERS[0], color=colour)
        axes.annotate(
            f"n {estimate.n}  {words(estimate, one.measure)}  {one.verdict}",
            (1.01, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(found)), [one.design.name for one in found], fontsize=8)
    axes.set_xlabel("difference, points (band: smallest effect of interest)")
    axes.grid(visible=False)
    return figure


def _best_title(analysis: Analysis) -> str:
    best = max(analysis.cells, key=lambda cell: sum(cell.summary.scores) / len(cell.summary.scores))
    score = 100 * sum(best.summary.scores) / len(best.summary.scores)
    return f"Best: {best.name}, {score:.1f} %"


def _contrast_title(analysis: Analysis) -> str:
    decided = [one for one in analysis.contrasts if one.estimate is not None]
    if not decided:
        return analysis.study.question
    largest = max(decided, key=lambda one: abs(one.estimate.value) if one.estimate else 0)
    assert largest.estimate is not None, "those without one were left out"
    return f"{largest.design.name}: {words(largest.estimate, largest.measure)}, {largest.verdict}"


def _range_that_trains(analysis: Analysis, norm: str) -> tuple[float, float] | None:
    """Return the lowest and the highest rate at which all runs trained."""
    sound = [
        float(cell.levels["rate"])
        for cell in analysis.cells
        if cell.levels["norm"] == norm and min(cell.summary.scores) > TRAINS
    ]
    return (min(sound), max(sound)) if sound else None


def _decades(found: tuple[float, float] | None) -> str:
    if found is None:
        return "no rate tried"
    return f"{math.log10(found[1] / found[0]):.1f} decades ({found[0]:g} to {found[1]:g})"


def _colour(cell: CellResult) -> str:
    return colour_of(cell.levels.get("norm", cell.levels.get("network", "")))


def _words(measure: str) -> str:
    return measure.replace("_", " ")
