"""`foldnorm fold`: any ONNX model without its batch norms, and the proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.errors import FoldError, VerificationError
from training.folding.fold_report import fold_report, fold_table, verdict_table
from training.folding.onnx_frontend.files import read_model, write_model
from training.folding.onnx_frontend.folded_model import fold_model
from training.folding.proof.evidence import input_specs
from training.folding.proof.inputs import feeds
from training.folding.proof.layer_errors import layer_errors
from training.folding.proof.prove import prove_fold


def fold(
    model: Annotated[Path, typer.Argument(help="An ONNX file of any exporter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folded ONNX file.")],
    clone: Annotated[
        bool, typer.Option("--clone", help="Copy layers and weights that several nodes read.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Own inputs for the proof: .npz by input name, or .npy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the inputs of the proof.")] = 0,
    report: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file, '-' prints it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
) -> None:
    """Fold every batch norm of MODEL that can go exactly, prove it, and write the result.

    Exit code 0 when all are folded or refused for a reason, 2 for bad input, 3 when the proof
    fails; then nothing is written.
    """
    check_output(model, output, force=force)
    original = read_model(model)
    folded = fold_model(original, clones=clone)
    verdict = prove_fold(original, folded, clones=clone, data=data, seed=seed)
    first = next(feeds(input_specs(original), seed))
    errors = layer_errors(original, folded.model, folded.probes, first)
    document = fold_report(model, output, original, folded, errors, verdict)
    if report is not None and str(report) == "-":
        typer.echo(json.dumps(document, indent=1))
    else:
        console = Console()
        console.print(fold_table(folded.rows, errors))
        console.print(verdict_table(verdict, "folded"))
        before, after = document["batch_norms_before"], document["batch_norms_after"]
        console.print(f"batch norms: {before} before, {after} after")
    if report is not None and str(report) != "-":
        report.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if not verdict.holds:
        raise VerificationError(f"{model}: the proof fails, so {output} was not written")
    write_model(folded.model, output)


def check_output(model: Path, output: Path, *, force: bool) -> None:
    """Refuse to lose a file.

    Raises:
        FoldError: the output is the model, or is there and may not be replaced.
    """
    if not output.parent.is_dir():
        raise FoldError(f"{output.parent}: no such folder; make it, or choose another output")
    if output.exists() and model.exists() and output.samefile(model):
        raise FoldError(f"{output}: is the model itself; choose another output")
    if output.exists() and not force:
        raise FoldError(f"{output}: exists; choose another output, or replace it with --force")
