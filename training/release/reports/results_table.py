"""The results of artefacts as one Markdown table, from their manifests and histories alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.bundle import Bundle
from models.manifest import GraphRecord

THRESHOLDS = (0.70, 0.75, 0.79)


def results_table(bundles: Sequence[Bundle]) -> str:
    """Return a table with a column for each artefact."""
    rows: list[tuple[str, Callable[[Bundle], str]]] = [
        ("**test accuracy**, last epoch, single view", _accuracy),
        ("95 % interval", _interval),
        *_view_rows(bundles),
        *_int8_rows(bundles),
        ("epochs trained", lambda bundle: str(bundle.manifest.provenance.epochs)),
        ("best epoch, *selected on the test set*", _best),
        *(
            (f"epochs to {threshold:.0%}", lambda bundle, t=threshold: _epochs_to(bundle, t))
            for threshold in THRESHOLDS
        ),
        ("test loss", lambda bundle: f"{bundle.manifest.metrics.test.loss:.4f}"),
        (
            "expected calibration error",
            lambda bundle: f"{bundle.manifest.metrics.test.expected_calibration_error:.4f}",
        ),
        (
            "seconds an epoch, median",
            lambda bundle: f"{bundle.manifest.provenance.median_epoch_seconds:.1f}",
        ),
        ("parameters served", lambda bundle: f"{_served(bundle).parameters:,}"),
        ("batch norms in the graph as trained", _batch_norms),
        (
            "batch norms served",
            lambda bundle: str(_served(bundle).nodes.get("BatchNormalization", 0)),
        ),
    ]
    header = "| | " + " | ".join(f"{bundle.name} {bundle.version}" for bundle in bundles) + " |"
    lines = [header, "|---" * (len(bundles) + 1) + "|"]
    for title, cell in rows:
        lines.append(f"| {title} | " + " | ".join(cell(bundle) for bundle in bundles) + " |")
    return "\n".join(lines) + "\n"


def _view_rows(bundles: Sequence[Bundle]) -> list[tuple[str, Callable[[Bundle], str]]]:
    """Return what several views of each image give, if it was measured of any artefact."""
    if not any(bundle.manifest.metrics.test_time_augmentation for bundle in bundles):
        return []
    return [("with test-time augmentation, *not served*", _augmented_accuracy)]


def _augmented_accuracy(bundle: Bundle) -> str:
    views = bundle.manifest.metrics.test_time_augmentation
    return f"{views.accuracy:.2%} ({views.views} views)" if views else ""


def _int8_rows(bundles: Sequence[Bundle]) -> list[tuple[str, Callable[[Bundle], str]]]:
    """Return what int8 changed, if any of the artefacts has it."""
    if not any(bundle.manifest.quantization for bundle in bundles):
        return []
    return [
        ("test accuracy in int8", _int8_accuracy),
        ("labels of the test set that int8 changes", _int8_changes),
        ("int8 against float32, times as fast, batch of 1 and of 64", _int8_speed),
    ]


def _int8_accuracy(bundle: Bundle) -> str:
    report = bundle.manifest.quantization
    return f"{report.effect.test.accuracy:.2%}" if report else ""


def _int8_changes(bundle: Bundle) -> str:
    report = bundle.manifest.quantization
    return f"{report.effect.label_changes:,}" if report else ""


def _int8_speed(bundle: Bundle) -> str:
    report = bundle.manifest.quantization
    return ", ".join(f"{gain.ratio:.2f}" for gain in report.speed) if report else ""


def _accuracy(bundle: Bundle) -> str:
    return f"**{bundle.manifest.metrics.test.accuracy:.2%}**"


def _interval(bundle: Bundle) -> str:
    low, high = bundle.manifest.metrics.test.accuracy_interval_95
    return f"{low:.2%} to {high:.2%}"


def _best(bundle: Bundle) -> str:
    best = bundle.manifest.metrics.best_epoch
    return f"{best.test_accuracy:.2%} (epoch {best.epoch})"


def _epochs_to(bundle: Bundle, threshold: float) -> str:
    reached = (r.epoch for r in bundle.read_history() if r.test_accuracy >= threshold)
    epoch = next(reached, None)
    return "never" if epoch is None else str(epoch)


def _batch_norms(bundle: Bundle) -> str:
    graphs = bundle.manifest.graphs
    trained = graphs.get("unfolded", _served(bundle))
    return str(trained.nodes.get("BatchNormalization", 0))


def _served(bundle: Bundle) -> GraphRecord:
    return bundle.manifest.graphs[bundle.served_variant]
