"""`foldnorm fold`: any ONNX model without its batch norms, and the proof."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.commands import sizes_by_name
from training.folding.fold_report import fold_report, fold_table, totals, verdict_table
from training.folding.onnx_fold import Measured, OnnxFold, Options, fold_file, measure
from training.folding.onnx_frontend.files import check_output


def fold(
    model: Annotated[Path, typer.Argument(help="An ONNX file of any exporter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folded ONNX file.")],
    clone: Annotated[
        bool, typer.Option("--clone", help="Copy layers and weights that several nodes read.")
    ] = False,
    constants: Annotated[
        bool,
        typer.Option(
            "--initializers-are-constants",
            help="Take initializers from the inputs, where callers may override them.",
        ),
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Own inputs for the proof: .npz by input name, or .npy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the inputs of the proof.")] = 0,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A free size in the proof; INPUT.AXIS names any."),
    ] = None,
    no_proof: Annotated[
        bool, typer.Option("--no-proof", help="Prove nothing; the file says so in its metadata.")
    ] = False,
    measured: Annotated[
        bool, typer.Option("--measure", help="State the time of a run before and after.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file, '-' prints it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file.")] = False,
) -> None:
    """Fold every batch norm of MODEL that can go exactly, prove it, and write the result.

    Exit code 0 when all are folded or refused for a reason, 2 for bad input, 3 when the proof
    fails, 4 when nothing could be tested; with 3 and 4 nothing is written.
    """
    check_output(model, output, force=force)
    options = Options(clone, constants, data, seed, sizes_by_name(size or ()), not no_proof)
    folded = fold_file(model, options)
    times = measure(folded) if measured else None
    document = fold_report(folded, output) | ({"measured": asdict(times)} if times else {})
    if report is not None and str(report) == "-":
        typer.echo(json.dumps(document, indent=1))
    else:
        _print(folded, times)
    if report is not None and str(report) != "-":
        report.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    folded.check()
    folded.write(output)


def _print(folded: OnnxFold, times: Measured | None) -> None:
    console = Console()
    if folded.rows:
        console.print(fold_table(folded.rows, folded.errors))
    if folded.verdict is not None and not folded.verdict.unchanged:
        console.print(verdict_table(folded.verdict, "folded"))
    console.print(totals(folded))
    if times is not None:
        console.print(
            f"one run, one thread: {times.original_ms:.3g} ms before, {times.folded_ms:.3g} after; "
            f"ratio {times.ratio:.3f} ({times.low:.3f} to {times.high:.3f}), {times.inputs}"
        )
