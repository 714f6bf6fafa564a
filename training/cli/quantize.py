"""`foldnorm quantize`: the next version of an artifact, with an int8 graph beside its others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, load_bundle
from training.data.cifar10 import Split
from training.data.dataset import images_of
from training.data.labelled_images import LabelledImages, list_labelled
from training.errors import DataError
from training.release.folder import next_version
from training.release.quantization.effect import MAX_LOSS_POINTS
from training.release.quantization.quantized_release import (
    CALIBRATION_IMAGES,
    CALIBRATION_SEED,
    release_quantized,
)


def quantize(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            help="Folder that the artifact was trained on; of a packed one labelled images, a "
            "folder a class or a CSV file of path and label."
        ),
    ],
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
    keep: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Stays in float32; repeatable.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0, max=100, help="Most points of accuracy that int8 may lose.")
    ] = MAX_LOSS_POINTS,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of the timing; default: 30, or a minute's.")
    ] = None,
) -> None:
    """Quantize the served graph of ARTIFACT, measure it and write the artifact's next version.

    Of labelled images at most half are calibrated on, and the others measured. Run times are
    measured on one thread: leave the machine idle meanwhile.
    """
    released = load_bundle(artifact)
    train: Split
    test: Split | LabelledImages
    if released.manifest.packed:
        train, test = _own_images(released, data_dir, calibration_images, seed)
    else:
        train, test = images_of(released.manifest, data_dir)
    quantized = release_quantized(
        released,
        train,
        test,
        version or next_version(released.version),
        output or artifact.resolve().parent,
        calibration_images=calibration_images,
        seed=seed,
        keep=keep or (),
        max_loss_points=max_loss,
        latency_rounds=rounds,
    )
    _print_report(quantized)
    typer.echo(f"wrote {quantized.path}")


def _own_images(
    artifact: Bundle, data: Path, count: int, seed: int
) -> tuple[Split, LabelledImages]:
    """Return images to calibrate on, at most half of the labelled ones, and the others."""
    labelled = list_labelled(data, artifact.manifest.labels)
    count = min(count, len(labelled.files) // 2)
    if not count:
        raise DataError(f"{data} has one image; one to calibrate on and one to measure are needed")
    calibration, test = labelled.split(count, seed)
    parts = list(calibration.chunks(artifact.manifest.input))
    images, labels = ([getattr(part, name) for part in parts] for name in ("images", "labels"))
    return Split(np.concatenate(images), np.concatenate(labels)), test


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
