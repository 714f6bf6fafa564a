"""Two plots of learning curves: accuracy per epoch, and training against test loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.release.reports.learning_curves import LearningCurve

# Okabe and Ito's palette, which the colour-blind can tell apart; then again with another marker.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
# Text stays text and ids do not change from run to run, so the files are small and diff well.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "foldnorm", "font.size": 11}

Look = tuple[str, str]  # colour, marker


def accuracy_figure(curves: Sequence[LearningCurve]) -> Figure:
    """Return test accuracy per epoch: every run thin, and the mean of several seeds thick."""
    figure, axes = _figure("Test accuracy per epoch", "accuracy, %")
    for group, members in _groups(curves).items():
        look = looks(curves)[group]
        lines = [[100 * record.test_accuracy for record in one.history] for one in members]
        last = sum(line[-1] for line in lines) / len(lines)
        label = f"{_label(members)}, last {last:.1f} %"
        _draw(axes, members, lines, look, label=label, linestyle="-")
    _finish(axes)
    return figure


def loss_figure(curves: Sequence[LearningCurve]) -> Figure:
    """Return training and test loss per epoch of each network.

    Training loss is the mean while the weights moved, on augmented images and with dropout where
    the recipe has it, so it can lie above the test loss. With smoothed labels it is another
    quantity, and is left out.
    """
    figure, axes = _figure("Training and test loss per epoch", "cross-entropy")
    for group, members in _groups(curves).items():
        look, name = looks(curves)[group], _label(members)
        test = [[record.test_loss for record in one.history] for one in members]
        without = "" if members[0].plain_loss else " (trained on smoothed labels)"
        _draw(axes, members, test, look, label=f"{name}, test{without}", linestyle="-")
        if members[0].plain_loss:
            train = [[record.train_loss for record in one.history] for one in members]
            _draw(axes, members, train, look, label=f"{name}, training", linestyle="--")
    _finish(axes)
    return figure


def looks(curves: Sequence[LearningCurve]) -> dict[str, Look]:
    """Return colour and marker of each group; no two have both alike, up to 35."""
    pairs = ((colour, marker) for marker in cycle(MARKERS) for colour in COLOURS)
    return dict(zip(_groups(curves), pairs, strict=False))


def save_figure(figure: Figure, path: Path) -> None:
    """Write an SVG that is the same for the same data, or a PNG, by the path's suffix."""
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None, "Creator": "foldnorm report"} if kind == "svg" else None
    with mpl.rc_context(STYLE):
        figure.savefig(path, format=kind, metadata=metadata, dpi=150)


def _groups(curves: Sequence[LearningCurve]) -> dict[str, list[LearningCurve]]:
    groups: dict[str, list[LearningCurve]] = {}
    for curve in curves:
        groups.setdefault(curve.group, []).append(curve)
    return groups


def _label(members: Sequence[LearningCurve]) -> str:
    return members[0].label if len(members) == 1 else f"{members[0].group}, {len(members)} seeds"


def _draw(
    axes: Axes,
    members: Sequence[LearningCurve],
    lines: Sequence[Sequence[float]],
    look: Look,
    *,
    label: str,
    linestyle: str,
) -> None:
    """Draw the runs of a group, and where there are several their mean, as far as all go."""
    colour, marker = look
    epochs = [[record.epoch for record in one.history] for one in members]
    if len(lines) > 1:
        for xs, line in zip(epochs, lines, strict=True):
            axes.plot(xs, line, color=colour, linestyle=linestyle, linewidth=0.6, alpha=0.6)
        lines = [[sum(column) / len(column) for column in zip(*lines, strict=False)]]
    xs = epochs[0][: len(lines[0])]
    # One marker, at the end, tells groups of one colour apart and makes a single epoch visible.
    axes.plot(
        xs, lines[0], color=colour, linestyle=linestyle, marker=marker, markevery=[-1], label=label
    )


def _figure(title: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
