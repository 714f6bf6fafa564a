"""`foldnorm doctor`: what is wrong with a network's batch norms, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from training.cli.commands import missing_package
from training.folding.doctor.diagnosis import Diagnosis, doctor_report, doctor_table
from training.folding.doctor.examination import diagnose


def doctor(
    model: Annotated[
        Path, typer.Argument(help="An ONNX file, an artifact, a run, or torch weights (.pt, .pth).")
    ],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="For an artifact or a run: the folder that holds cifar-10-batches-py/, to measure."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Examine the batch norms of MODEL; with --data-dir also measure them on the data.

    Exit code 0 if there is nothing but notes, 1 with warnings, 3 with errors, 2 for bad input.
    """
    try:
        diagnosis = diagnose(model, data_dir)
    except ModuleNotFoundError as error:
        raise missing_package("doctor", error, "train") from error
    if as_json:
        typer.echo(json.dumps(doctor_report(diagnosis), indent=1))
    else:
        _print(diagnosis)
    if diagnosis.exit_code:
        raise typer.Exit(diagnosis.exit_code)


def _print(diagnosis: Diagnosis) -> None:
    console = Console()
    if diagnosis.findings:
        console.print(doctor_table(diagnosis))
    gap = diagnosis.measurements.get("gap")
    if gap:
        console.print(
            f"statistics of the batch, against those kept: {gap['points']:+.2f} points of accuracy "
            f"on {gap['images']:,} test images"
        )
        for layer in diagnosis.measurements["staleness"]:
            console.print(
                f"{escape(layer['layer'])}: mean off by {layer['shift']:.2g} standard deviations, "
                f"variance by a factor of {layer['ratio']:.3g} (medians over channels)"
            )
    console.print(escape(diagnosis.summary))
