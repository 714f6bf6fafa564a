"""`foldnorm evaluate`: every metric again, from the ONNX file alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, BundleError, load_bundle
from models.manifest import AugmentedMetrics, TestMetrics, Variant
from training.data.cifar10 import LABELS, load_test_split
from training.data.dataset import tested_images_of
from training.errors import VerificationError
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.test_time_augmentation import measure_augmented


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder, or an .onnx file.")],
    data_dir: Annotated[Path, typer.Option(help="Folder that the artifact was trained on.")],
    variant: Annotated[
        str | None, typer.Option(help=f"{', '.join(get_args(Variant))}; default: as served.")
    ] = None,
    six_views: Annotated[
        bool, typer.Option("--six-views", help="Also with test-time augmentation.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Measure a graph on the test set and compare with the artifact's manifest.

    Exit code 3 if the manifest states another number of correct answers.
    """
    if artifact.suffix == ".onnx" and variant:
        raise typer.BadParameter("an .onnx file has no variants; name the artifact's folder")
    if artifact.suffix == ".onnx":
        content, stated, stated_views = _read(artifact), None, None
        labels: tuple[str, ...] = LABELS
        test = load_test_split(data_dir)
    else:
        released = load_bundle(artifact)
        chosen = _variant(variant) or released.served_variant
        content = released.read_graph(chosen)
        stated, stated_views = _stated_metrics(released, chosen), _stated_views(released, chosen)
        labels, test = released.manifest.labels, tested_images_of(released.manifest, data_dir)
    runner = GraphRunner(content, threads=threads)
    measured = measure(runner.logits(test.images), test.labels, labels)
    views = measure_augmented(runner, test) if six_views else None
    if as_json:
        augmented = {"test_time_augmentation": asdict(views)} if views else {}
        typer.echo(json.dumps({**asdict(measured), **augmented}, indent=1))
    else:
        _print_metrics(measured, stated, views, stated_views)
    _check_correct(artifact, "", measured, stated)
    _check_correct(artifact, " with test-time augmentation", views, stated_views)


def _check_correct(
    artifact: Path,
    how: str,
    measured: TestMetrics | AugmentedMetrics | None,
    stated: TestMetrics | AugmentedMetrics | None,
) -> None:
    if measured and stated and measured.correct != stated.correct:
        raise VerificationError(
            f"{artifact}: measured {measured.correct:,} correct{how}, its manifest says "
            f"{stated.correct:,}; the graph or the manifest is not the released one"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BundleError(f"cannot read {path} ({exc.strerror}); name an .onnx file") from exc


def _stated_metrics(artifact: Bundle, variant: Variant) -> TestMetrics | None:
    """Return what the manifest says of a graph; of an unfolded one it says nothing."""
    report = artifact.manifest.quantization
    if variant == "int8" and report is not None:
        return report.effect.test
    return artifact.manifest.measured.test if variant == artifact.served_variant else None


def _stated_views(artifact: Bundle, variant: Variant) -> AugmentedMetrics | None:
    served = variant == artifact.served_variant
    return artifact.manifest.measured.test_time_augmentation if served else None


def _variant(name: str | None) -> Variant | None:
    for variant in get_args(Variant):
        if name == variant:
            return variant  # type: ignore[no-any-return]
    if name is None:
        return None
    raise typer.BadParameter(f"{name!r} is no variant; take one of {', '.join(get_args(Variant))}")


def _print_metrics(
    measured: TestMetrics,
    stated: TestMetrics | None,
    views: AugmentedMetrics | None,
    stated_views: AugmentedMetrics | None,
) -> None:
    low, high = measured.accuracy_interval_95
    rows = [
        ("correct", f"{measured.correct:,}", f"{stated.correct:,}" if stated else ""),
        ("accuracy", f"{measured.accuracy:.2%}", f"{stated.accuracy:.2%}" if stated else ""),
        ("95 % interval", f"{low:.2%} to {high:.2%}", ""),
        ("loss", f"{measured.loss:.5f}", f"{stated.loss:.5f}" if stated else ""),
        (
            "expected calibration error",
            f"{measured.expected_calibration_error:.5f}",
            f"{stated.expected_calibration_error:.5f}" if stated else "",
        ),
    ]
    for name, share in measured.per_class_accuracy.items():
        there = f"{stated.per_class_accuracy[name]:.1%}" if stated else ""
        rows.append((name, f"{share:.1%}", there))
    if views:
        there = f"{stated_views.accuracy:.2%}" if stated_views else ""
        rows.append(("accuracy, test-time augmentation", f"{views.accuracy:.2%}", there))
    table = Table("metric", "measured", "manifest", title=f"{measured.images:,} test images")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
