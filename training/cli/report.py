"""`foldnorm report`: draw the learning curves of artifacts side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.bundle import load_catalogue
from training.release.reports.figures import accuracy_figure, loss_figure, save_figure
from training.release.reports.results_table import results_table


def report(
    artifacts: Annotated[Path, typer.Option(help="Folder of artifacts.")] = Path(
        "models/artifacts"
    ),
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figures.")] = Path(
        "docs/figures"
    ),
) -> None:
    """Draw accuracy, and training against test loss, per epoch as SVG; write the results' table."""
    released = load_catalogue(artifacts)
    output.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("accuracy.svg", accuracy_figure(released)),
        ("loss.svg", loss_figure(released)),
    ):
        save_figure(figure, output / name)
        typer.echo(f"wrote {output / name}")
    (output / "results.md").write_text(results_table(released), encoding="utf-8")
    typer.echo(f"wrote {output / 'results.md'}")
