"""The results of artifacts as one Markdown table, from their manifests and histories alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from models.bundle import Bundle
from models.manifest import GraphRecord

THRESHOLDS = (0.70, 0.75, 0.79)


def results_table(artifacts: Sequence[Bundle]) -> str:
    """Return a table with a column for each artifact."""
    rows: list[tuple[str, Callable[[Bundle], str]]] = [
        ("**test accuracy**, last epoch, single view", _accuracy),
        ("95 % interval", _interval),
        *_view_rows(artifacts),
        *_int8_rows(artifacts),
        ("epochs trained", lambda artifact: str(artifact.manifest.trained.epochs)),
        ("best epoch, *selected on the test set*", _best),
        *(
            (f"epochs to {threshold:.0%}", lambda artifact, t=threshold: _epochs_to(artifact, t))
            for threshold in THRESHOLDS
        ),
        ("test loss", lambda artifact: f"{artifact.manifest.measured.test.loss:.4f}"),
        (
            "expected calibration error",
            lambda artifact: f"{artifact.manifest.measured.test.expected_calibration_error:.4f}",
        ),
        *_temperature_rows(artifacts),
        (
            "seconds an epoch, median",
            lambda artifact: f"{artifact.manifest.trained.median_epoch_seconds:.1f}",
        ),
        ("parameters served", lambda artifact: f"{_served(artifact).parameters:,}"),
        ("batch norms in the graph as trained", _batch_norms),
        (
            "batch norms served",
            lambda artifact: str(_served(artifact).nodes.get("BatchNormalization", 0)),
        ),
    ]
    header = (
        "| | " + " | ".join(f"{artifact.name} {artifact.version}" for artifact in artifacts) + " |"
    )
    lines = [header, "|---" * (len(artifacts) + 1) + "|"]
    for title, cell in rows:
        lines.append(f"| {title} | " + " | ".join(cell(artifact) for artifact in artifacts) + " |")
    return "\n".join(lines) + "\n"


def _view_rows(artifacts: Sequence[Bundle]) -> list[tuple[str, Callable[[Bundle], str]]]:
    """Return what test-time augmentation gives, if it was measured of any artifact."""
    if not any(artifact.manifest.measured.test_time_augmentation for artifact in artifacts):
        return []
    return [("with test-time augmentation, *not served*", _augmented_accuracy)]


def _augmented_accuracy(artifact: Bundle) -> str:
    views = artifact.manifest.measured.test_time_augmentation
    return f"{views.accuracy:.2%} ({views.views} views)" if views else ""


def _int8_rows(artifacts: Sequence[Bundle]) -> list[tuple[str, Callable[[Bundle], str]]]:
    """Return what int8 changed, if any of the artifacts has it."""
    if not any(artifact.manifest.quantization for artifact in artifacts):
        return []
    return [
        ("test accuracy in int8", _int8_accuracy),
        ("labels of the test set that int8 changes", _int8_changes),
        ("int8 against float32, times as fast, batch of 1 and of 64", _int8_speed),
        ("… on a processor with", _int8_instructions),
    ]


def _int8_accuracy(artifact: Bundle) -> str:
    report = artifact.manifest.quantization
    return f"{report.effect.test.accuracy:.2%}" if report else ""


def _int8_changes(artifact: Bundle) -> str:
    report = artifact.manifest.quantization
    return f"{report.effect.label_changes:,}" if report else ""


def _int8_speed(artifact: Bundle) -> str:
    report = artifact.manifest.quantization
    return ", ".join(f"{gain.ratio:.2f}" for gain in report.speed) if report else ""


def _int8_instructions(artifact: Bundle) -> str:
    report = artifact.manifest.quantization
    return ", ".join(report.environment["instructions"]) if report else ""


def _temperature_rows(artifacts: Sequence[Bundle]) -> list[tuple[str, Callable[[Bundle], str]]]:
    """Return by what the logits are divided, if those of any artifact are."""
    if not any(artifact.manifest.temperature for artifact in artifacts):
        return []
    return [("logits divided by, fitted on held-out images", _temperature)]


def _temperature(artifact: Bundle) -> str:
    report = artifact.manifest.temperature
    return f"{report.temperature:.3f}" if report else ""


def _accuracy(artifact: Bundle) -> str:
    return f"**{artifact.manifest.measured.test.accuracy:.2%}**"


def _interval(artifact: Bundle) -> str:
    low, high = artifact.manifest.measured.test.accuracy_interval_95
    return f"{low:.2%} to {high:.2%}"


def _best(artifact: Bundle) -> str:
    best = artifact.manifest.measured.best_epoch
    return f"{best.test_accuracy:.2%} (epoch {best.epoch})" if best else ""


def _epochs_to(artifact: Bundle, threshold: float) -> str:
    reached = (r.epoch for r in artifact.read_history() if r.test_accuracy >= threshold)
    epoch = next(reached, None)
    return "never" if epoch is None else str(epoch)


def _batch_norms(artifact: Bundle) -> str:
    graphs = artifact.manifest.graphs
    trained = graphs.get("unfolded", _served(artifact))
    return str(trained.nodes.get("BatchNormalization", 0))


def _served(artifact: Bundle) -> GraphRecord:
    return artifact.manifest.graphs[artifact.served_variant]
