"""The reference experiment's two plots, from the artifacts' learning curves alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.bundle import Bundle

COLOURS = ("#c0562f", "#1f6f8b", "#5b8c3a", "#7a4f9a")
# Text stays text and ids do not change from run to run, so the files are small and diff well.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "foldnorm", "font.size": 11}


def accuracy_figure(artifacts: Sequence[Bundle]) -> Figure:
    """Return test accuracy per epoch of each network."""
    figure, axes = _figure("Test accuracy per epoch", "accuracy")
    for artifact, colour in zip(artifacts, _colours(artifacts), strict=True):
        history = artifact.read_history()
        epochs = [record.epoch for record in history]
        accuracy = [100 * record.test_accuracy for record in history]
        axes.plot(
            epochs, accuracy, color=colour, label=f"{artifact.name}, last {accuracy[-1]:.1f} %"
        )
    axes.set_ylabel("accuracy, %")
    _finish(axes)
    return figure


def loss_figure(artifacts: Sequence[Bundle]) -> Figure:
    """Return training and test loss per epoch of each network.

    Training loss is the mean while the weights moved, on augmented images and with dropout where
    the recipe has it, so it can lie above the test loss.
    """
    figure, axes = _figure("Training and test loss per epoch", "cross-entropy")
    for artifact, colour in zip(artifacts, _colours(artifacts), strict=True):
        history = artifact.read_history()
        epochs = [record.epoch for record in history]
        axes.plot(
            epochs,
            [record.train_loss for record in history],
            color=colour,
            linestyle="--",
            label=f"{artifact.name}, training",
        )
        axes.plot(
            epochs,
            [record.test_loss for record in history],
            color=colour,
            label=f"{artifact.name}, test",
        )
    _finish(axes)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write an SVG that is the same for the same data."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "foldnorm report"})


def _figure(title: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel="epoch", ylabel=ylabel)
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _colours(artifacts: Sequence[Bundle]) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(artifacts))]
