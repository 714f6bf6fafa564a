"""`foldnorm quantize`: the next version of an artifact, with an int8 graph beside its others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, load_bundle
from training.data.dataset import images_of
from training.evaluation.latency import ROUNDS
from training.release.folder import next_version
from training.release.quantization.quantized_release import (
    CALIBRATION_IMAGES,
    CALIBRATION_SEED,
    release_quantized,
)


def quantize(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.")],
    data_dir: Annotated[Path, typer.Option(help="Folder that the artifact was trained on.")],
    version: Annotated[
        str | None, typer.Option(help="Version of the new artifact; default: the next minor one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for NAME-VERSION; default: beside ARTIFACT."),
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that the ranges are taken from.")
    ] = CALIBRATION_IMAGES,
    seed: Annotated[int, typer.Option(min=0, help="Chooses those images.")] = CALIBRATION_SEED,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the timing.")] = ROUNDS,
) -> None:
    """Quantize the served graph of ARTIFACT, measure it and write the artifact's next version.

    Run times are measured on one thread: leave the machine idle meanwhile.
    """
    released = load_bundle(artifact)
    train, test = images_of(released.manifest, data_dir)
    quantized = release_quantized(
        released,
        train,
        test,
        version or next_version(released.version),
        output or artifact.resolve().parent,
        calibration_images=calibration_images,
        seed=seed,
        latency_rounds=rounds,
    )
    _print_report(quantized)
    typer.echo(f"wrote {quantized.path}")


def _print_report(artifact: Bundle) -> None:
    report = artifact.manifest.quantization
    assert report is not None, "a quantized release has a report"
    effect = report.effect
    low, high = effect.test.accuracy_interval_95
    table = Table("measured", "value", title=f"{artifact.name} {artifact.version}, int8")
    table.add_row("accuracy", f"{effect.test.accuracy:.2%} ({low:.2%} to {high:.2%})")
    table.add_row(
        "accuracy, int8 minus float32", f"{effect.accuracy_difference_points:+.2f} points"
    )
    table.add_row("labels changed", f"{effect.label_changes:,} of {effect.test.images:,}")
    table.add_row("… from right to wrong", f"{effect.right_to_wrong:,}")
    table.add_row("… from wrong to right", f"{effect.wrong_to_right:,}")
    table.add_row("largest logit difference", f"{effect.largest_logit_difference:.3g}")
    for gain in report.speed:
        medians = f"{gain.float32.median_ms:.3f} to {gain.int8.median_ms:.3f} ms"
        table.add_row(f"batch of {gain.batch_size}", f"{medians}, {gain.ratio:.2f} times as fast")
    Console().print(table)
