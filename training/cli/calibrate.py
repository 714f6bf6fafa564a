"""`foldnorm calibrate`: the next version of an artifact, its probabilities honest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, load_bundle
from training.data.dataset import images_of
from training.evaluation.latency import ROUNDS
from training.release.calibrated_release import release_calibrated
from training.release.folder import next_version
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.run_directory import RunDirectory


def calibrate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.")],
    sibling: Annotated[
        list[Path],
        typer.Option(help="The folder of a run of the same recipe with data.held_out; repeatable."),
    ],
    data_dir: Annotated[Path, typer.Option(help="Folder that the artifact was trained on.")],
    version: Annotated[
        str | None, typer.Option(help="Version of the new artifact; default: the next minor one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for NAME-VERSION; default: beside ARTIFACT."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the timing.")] = ROUNDS,
) -> None:
    """Fit a temperature on images that a SIBLING held out, and fold it into ARTIFACT's last layer.

    No answer changes, only how sure the network says it is. An int8 graph is to be made anew:
    foldnorm quantize.
    """
    released = load_bundle(artifact)
    checkpoints = [load_checkpoint(RunDirectory(run).checkpoint_file) for run in sibling]
    train, test = images_of(released.manifest, data_dir)
    calibrated = release_calibrated(
        released,
        checkpoints,
        train,
        test,
        version or next_version(released.version),
        output or artifact.resolve().parent,
        latency_rounds=rounds,
    )
    _print_report(calibrated)
    typer.echo(f"wrote {calibrated.path}")


def _print_report(artifact: Bundle) -> None:
    report, after = artifact.manifest.temperature, artifact.manifest.measured.test
    assert report is not None, "a calibrated release has a report"
    before = report.test_before
    table = Table("", "before", "after", title=f"temperature {report.temperature:.3f}")
    for one in report.siblings:
        losses = (f"{one.loss_before:.4f}", f"{one.loss_after:.4f}")
        table.add_row(f"loss, {one.images:,} held out by seed {one.seed}", *losses)
    table.add_row("loss, test", f"{before.loss:.4f}", f"{after.loss:.4f}")
    errors = (one.expected_calibration_error for one in (before, after))
    table.add_row("calibration error, test", *(f"{error:.4f}" for error in errors))
    table.add_row("accuracy, test", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}")
    Console().print(table)
