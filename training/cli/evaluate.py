"""`foldnorm evaluate`: every metric again, from the ONNX file alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from models.bundle import Bundle, BundleError, load_bundle
from models.manifest import Variant
from models.metrics import AugmentedMetrics, TestMetrics
from training.data.cifar10 import LABELS, load_test_split
from training.data.dataset import tested_images_of
from training.data.labelled_images import list_labelled
from training.errors import VerificationError
from training.evaluation.labelled import measure_labelled
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.test_time_augmentation import measure_augmented

MAX_CLASSES = 100  # that the table has a row for


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="The artifact's folder, or an .onnx file.")],
    data_dir: Annotated[
        Path,
        typer.Option(
            help="Folder that the artifact was trained on; of a packed one labelled images, a "
            "folder a class or a CSV file of path and label."
        ),
    ],
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
        asked = _Asked(_read(artifact), LABELS)
        test = load_test_split(data_dir)
    else:
        released = load_bundle(artifact)
        chosen = _variant(variant) or released.served_variant
        if released.manifest.packed:
            if six_views:
                raise typer.BadParameter("--six-views is of networks that Foldnorm trained")
            _evaluate_packed(released, chosen, data_dir, threads, as_json=as_json)
            return
        asked = _Asked.of(released, chosen)
        test = tested_images_of(released.manifest, data_dir)
    runner = GraphRunner(asked.content, threads=threads)
    stated, stated_views = asked.stated, asked.stated_views
    measured = measure(runner.logits(test.images), test.labels, asked.labels)
    views = measure_augmented(runner, test) if six_views else None
    if as_json:
        augmented = {"test_time_augmentation": asdict(views)} if views else {}
        typer.echo(json.dumps({**asdict(measured), **augmented}, indent=1))
    else:
        _print_metrics(measured, stated, views, stated_views)
    _check_correct(artifact, "", measured, stated)
    _check_correct(artifact, " with test-time augmentation", views, stated_views)


@dataclass(frozen=True)
class _Asked:
    """A graph, its labels, and what its manifest states of it."""

    content: bytes
    labels: tuple[str, ...]
    stated: TestMetrics | None = None
    stated_views: AugmentedMetrics | None = None

    @classmethod
    def of(cls, artifact: Bundle, variant: Variant) -> _Asked:
        """Read a variant; of an unfolded one the manifest states nothing."""
        manifest, content = artifact.manifest, artifact.read_graph(variant)
        if variant == "int8" and manifest.quantization:
            return cls(content, manifest.labels, manifest.quantization.effect.test)
        if variant != artifact.served_variant or not manifest.metrics:
            return cls(content, manifest.labels)
        metrics = manifest.metrics
        return cls(content, manifest.labels, metrics.test, metrics.test_time_augmentation)


def _evaluate_packed(
    artifact: Bundle, variant: Variant, data: Path, threads: int, *, as_json: bool
) -> None:
    """Measure a packed network on labelled images; its manifest may state it on others."""
    asked, manifest = _Asked.of(artifact, variant), artifact.manifest
    runner = GraphRunner(asked.content, threads=threads)
    images = list_labelled(data, asked.labels)
    measured = measure_labelled(runner, images, manifest.input, asked.labels)
    same = asked.stated is not None and asked.stated.tested_on == measured.tested_on
    stated = asked.stated if same else None
    if as_json:
        typer.echo(json.dumps(asdict(measured), indent=1))
    else:
        _print_metrics(measured, stated, None, None)
    _check_correct(artifact.path, "", measured, stated)


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
    if measured.top5_accuracy is not None:
        five = stated.top5_accuracy if stated else None
        there = f"{five:.2%}" if five is not None else ""
        rows.append(("among the five likeliest", f"{measured.top5_accuracy:.2%}", there))
    shares = measured.per_class_accuracy
    for name, share in shares.items() if len(shares) <= MAX_CLASSES else ():
        there = f"{stated.per_class_accuracy[name]:.1%}" if stated else ""
        rows.append((name, f"{share:.1%}", there))
    if views:
        there = f"{stated_views.accuracy:.2%}" if stated_views else ""
        rows.append(("accuracy, test-time augmentation", f"{views.accuracy:.2%}", there))
    table = Table("metric", "measured", "manifest", title=f"{measured.images:,} test images")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
