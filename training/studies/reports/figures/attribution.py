"""The waterfall of shares: from the one network to the other, a step for each change."""

from __future__ import annotations

from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis
from training.studies.reports.figures.style import ACCENT, GREY, canvas


def attribution(analysis: Analysis) -> Figure | None:
    """Draw each change's share of the gap, its interval, and how it depends on the order."""
    result = analysis.attribution
    if result is None or analysis.study.attribution is None:
        return None
    shares = result.shares
    start = next(
        cell for cell in analysis.cells if dict(cell.levels) == analysis.study.attribution.start
    )
    level = 100 * sum(start.summary.scores) / len(start.summary.scores)
    largest = max(shares, key=lambda one: one.estimate.value)
    title = (
        f"Of a gap of {100 * result.gap:.1f} points {100 * largest.estimate.value:.1f} are due to "
        f"{largest.switch}"
    )
    marks = "Arrow: share of the gap; upright line: its 95 % interval; ticks: in each order."
    figure, (axes,) = canvas(analysis, title, marks=marks)
    axes.plot([-0.4, 0.4], [level, level], color=GREY, linewidth=3)
    axes.annotate(
        f"{level:.1f} %", (0, level), xytext=(0, 5), textcoords="offset points", ha="center"
    )
    for x, share in enumerate(shares, 1):
        value, low, high = (
            100 * number
            for number in (share.estimate.value, share.estimate.low, share.estimate.high)
        )
        axes.plot([x - 0.6, x + 0.4], [level, level], color=GREY, linewidth=0.8)
        axes.annotate(
            "",
            (x, level + value),
            (x, level),
            arrowprops={"arrowstyle": "-|>", "color": ACCENT, "linewidth": 2},
        )
        if share.estimate.has_interval:
            axes.plot([x + 0.15] * 2, [level + low, level + high], color=ACCENT, linewidth=1.5)
        for effect in share.by_order:
            axes.plot([x + 0.25, x + 0.35], [level + 100 * effect] * 2, color=GREY, linewidth=0.8)
        small = abs(value) < 2  # beside so short an arrow a number would lie on the lines
        axes.annotate(
            f"{value:+.1f}",
            (x - 0.08, level + (max(value, 0) + 0.6 if small else value / 2)),
            ha="right",
            va="bottom" if small else "center",
            color=ACCENT,
        )
        level += value
        axes.plot([x - 0.4, x + 0.4], [level, level], color=ACCENT, linewidth=3)
    names = ["start", *(share.switch for share in shares)]
    axes.set_xticks(range(len(names)), [name.replace(" the ", "\nthe ") for name in names])
    axes.set_ylabel(f"{analysis.study.primary.replace('_', ' ')}, %")
    return figure
