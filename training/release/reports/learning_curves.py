"""A learning curve with its name, from an artifact or from the folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.bundle import MANIFEST_FILE, Bundle, load_bundle, load_catalogue
from models.history import FILE_NAME as HISTORY_FILE
from models.history import EpochRecord, read_history
from models.records import RecordError
from training.errors import CheckpointError
from training.recipes import load_recipe
from training.trainer.run.run_directory import RunDirectory


@dataclass(frozen=True)
class LearningCurve:
    """What a run gave, epoch by epoch."""

    group: str  # runs that differ in their seed alone have one
    label: str
    history: tuple[EpochRecord, ...]
    plain_loss: bool  # whether the training loss is the test loss', without smoothed labels


def curve_of_artifact(artifact: Bundle) -> LearningCurve:
    """Return the learning curve of an artifact, named with its version."""
    label = f"{artifact.name} {artifact.version}"
    smoothing = artifact.manifest.trained.recipe.get("label_smoothing", 0)
    return LearningCurve(label, label, tuple(artifact.read_history()), plain_loss=not smoothing)


def curve_of_run(folder: RunDirectory) -> LearningCurve:
    """Return the learning curve of a run, named with its seed.

    Raises:
        CheckpointError: the folder holds no run that has finished an epoch, or a damaged one.
    """
    there = folder.recipe_file.exists() and folder.history_file.exists()
    if not there or not folder.history_file.stat().st_size:
        raise CheckpointError(
            f"{folder.path} holds neither an artifact (manifest.json), nor artifacts, nor a run "
            "that has finished an epoch (recipe.toml and history.jsonl); name one of these"
        )
    recipe = load_recipe(str(folder.recipe_file))
    try:
        history = tuple(read_history(folder.history_file))
    except RecordError as exc:
        raise CheckpointError(f"the learning curve of a run is damaged: {exc}") from exc
    group = recipe.name
    label = f"{group} seed {recipe.seed}"
    return LearningCurve(group, label, history, plain_loss=not recipe.label_smoothing)


def read_sources(sources: Sequence[Path]) -> tuple[list[Bundle], list[LearningCurve]]:
    """Return the artifacts among the sources, and the learning curves of all of them.

    A source is an artifact's or a run's folder, or a folder of artifacts or of runs.

    Raises:
        BundleError: an artifact is broken.
        CheckpointError: a source is none of these.
    """
    artifacts: list[Bundle] = []
    curves: list[LearningCurve] = []
    for source in sources:
        found = _artifacts(source)
        artifacts += found
        curves += map(curve_of_artifact, found)
        if not found:
            curves += [curve_of_run(RunDirectory(run)) for run in _runs(source)]
    return artifacts, curves


def _runs(source: Path) -> list[Path]:
    """Return the run folders in a folder, or the folder itself."""
    inside = sorted(path.parent for path in source.glob(f"*/{HISTORY_FILE}"))
    return [source] if (source / HISTORY_FILE).exists() or not inside else inside


def _artifacts(source: Path) -> list[Bundle]:
    if (source / MANIFEST_FILE).exists():
        return [load_bundle(source)]
    return load_catalogue(source) if any(source.glob(f"*/{MANIFEST_FILE}")) else []
