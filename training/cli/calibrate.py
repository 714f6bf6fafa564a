"""`foldnorm calibrate`: the next version of an artifact, its probabilities honest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, load_bundle
from training.data.dataset import images_of
from training.release.calibrated_release import release_calibrated
from training.release.folder import next_version
from training.release.packing.temperature import calibrate_packed
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.run_directory import RunDirectory


def calibrate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            help="Folder that the artifact was trained on; of a packed one labelled images, a "
            "folder a class or a CSV file of path and label."
        ),
    ],
    sibling: Annotated[
        list[Path] | None,
        typer.Option(help="The folder of a run of the same recipe with data.held_out; repeatable."),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Of labelled images, that is fitted on.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Draws that share.")] = 0,
    version: Annotated[
        str | None, typer.Option(help="Version of the new artifact; default: the next minor one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for NAME-VERSION; default: beside ARTIFACT."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of the timing; default: 30, or a minute's.")
    ] = None,
) -> None:
    """Fit a temperature on images that a SIBLING held out, and fold it into ARTIFACT's last layer.

    That of a packed network is fitted on a share of labelled images. No answer changes, only how
    sure the network says it is. An int8 graph is to be made anew: foldnorm quantize.
    """
    released = load_bundle(artifact)
    place = output or artifact.resolve().parent
    if released.manifest.packed:
        if sibling:
            raise typer.BadParameter("--sibling is of networks that Foldnorm trained; leave it out")
        calibrated = calibrate_packed(
            released,
            data_dir,
            version or next_version(released.version),
            place,
            share=share,
            seed=seed,
            latency_rounds=rounds,
        )
        _print_report(calibrated)
        typer.echo(f"wrote {calibrated.path}")
        return
    if not sibling:
        raise typer.BadParameter(
            "name a --sibling: a run of the same recipe with data.held_out, which holds the images "
            "that the temperature is fitted on"
        )
    checkpoints = [load_checkpoint(RunDirectory(run).checkpoint_file) for run in sibling]
    train, test = images_of(released.manifest, data_dir)
    calibrated = release_calibrated(
        released,
        checkpoints,
        train,
        test,
        version or next_version(released.version),
        place,
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
    if fit := report.fitted_on:
        losses = (f"{fit.loss_before:.4f}", f"{fit.loss_after:.4f}")
        table.add_row(f"loss, {fit.images:,} images set aside", *losses)
    table.add_row("loss, test", f"{before.loss:.4f}", f"{after.loss:.4f}")
    errors = (one.expected_calibration_error for one in (before, after))
    table.add_row("calibration error, test", *(f"{error:.4f}" for error in errors))
    table.add_row("accuracy, test", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}")
    Console().print(table)
