"""`foldnorm report`: draw the learning curves of artifacts and runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.release.reports.figures import accuracy_figure, loss_figure, save_figure
from training.release.reports.learning_curves import read_sources
from training.release.reports.results_table import results_table


def report(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Artifacts or runs, or folders of them.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figures.")] = Path(
        "docs/figures"
    ),
    png: Annotated[bool, typer.Option("--png", help="Figures as PNG too.")] = False,
) -> None:
    """Draw accuracy, and training against test loss, per epoch; write the artifacts' table.

    Without SOURCES the artifacts that ship, in models/artifacts.
    """
    artifacts, curves = read_sources(sources or [Path("models/artifacts")])
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in (("accuracy", accuracy_figure(curves)), ("loss", loss_figure(curves))):
        for suffix in (".svg", ".png")[: 1 + png]:
            save_figure(figure, output / f"{name}{suffix}")
            typer.echo(f"wrote {output / name}{suffix}")
    if artifacts:
        (output / "results.md").write_text(results_table(artifacts), encoding="utf-8")
        typer.echo(f"wrote {output / 'results.md'}")
