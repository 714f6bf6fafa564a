"""The run folders of a study: what state each run is in, and what it has to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from models.history import EpochRecord, read_history
from training.errors import CheckpointError, RecipeError, StudyError
from training.recipes import Recipe, load_recipe
from training.recipes.recipe import ProbesRecipe
from training.studies.measures import diverged_measures, run_measures
from training.studies.plan import PlannedRun, has_batch_norm, steps_per_epoch
from training.studies.rows import CurvePoint, Row
from training.trainer.probes.measurement import Measurement, read_measurements
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.run_directory import RunDirectory

State = Literal["missing", "interrupted", "training", "failed", "diverged", "done"]
ERROR_FILE = "error.txt"


@dataclass(frozen=True)
class RunFolders:
    """The folder that holds the folders of all runs, of every study."""

    path: Path

    def folder(self, run: PlannedRun) -> RunDirectory:
        """Return where a run is or will be.

        A folder of the same weights whose probes measured at least as much will do: the one that
        has come furthest.
        """
        found = [RunDirectory(path) for path in sorted(self.path.glob(f"{run.identity}-*"))]
        covering = [folder for folder in found if _covers(folder, run.recipe.probes)]
        own = RunDirectory(self.path / run.folder)
        return max(
            covering,
            key=lambda folder: (_epochs_done(folder), folder.path == own.path),
            default=own,
        )

    def recipe(self, run: PlannedRun) -> Recipe:
        """Return the recipe to train a run with: its own, with the probes of the folder it has."""
        probes = _probes(self.folder(run))
        return run.recipe if probes is None else replace(run.recipe, probes=probes)

    def state(self, run: PlannedRun) -> State:
        """Return the state of a run, from its files alone."""
        folder = self.folder(run)
        if folder.is_locked:
            return "training"
        if folder.history_file.exists() and len(_history(folder)) >= run.recipe.epochs:
            return "done"
        if folder.divergence_file.exists():
            return "diverged"
        if (folder.path / ERROR_FILE).exists():
            return "failed"
        return "interrupted" if folder.holds_run else "missing"

    def row(self, run: PlannedRun, thresholds: tuple[float, ...]) -> Row:
        """Return the row of a run that is done or has diverged."""
        folder, state = self.folder(run), self.state(run)
        if state == "diverged":
            epochs = int(_divergence(folder)["epoch"]) - 1
            measures = diverged_measures(thresholds)
        else:
            history = _history(folder)[: run.recipe.epochs]
            epochs = len(history)
            measurements = _measurements(folder)
            normed = has_batch_norm(run.recipe)
            measures = run_measures(history, measurements, thresholds, normed=normed)
        return Row(
            study=run.study,
            run=run.identity,
            seed=run.seed,
            preset=run.preset,
            levels=dict(run.cell),
            status="diverged" if state == "diverged" else "done",
            epochs=epochs,
            made=_made(folder, run),
            measures=measures,
        )

    def curve(self, run: PlannedRun) -> list[CurvePoint]:
        """Return the learning curve of a run and what its probes measured, up to its horizon."""
        folder = self.folder(run)
        history = _history(folder)[: run.recipe.epochs] if folder.history_file.exists() else []
        measurements = _measurements(folder)
        points: dict[tuple[float, int, str], dict[str, float]] = {}
        steps = steps_per_epoch(run.recipe)
        for record in history:
            values = {key: float(value) for key, value in asdict(record).items() if key != "epoch"}
            points[float(record.epoch), record.epoch * steps, ""] = values
        for one in measurements:
            if one.epoch <= run.recipe.epochs:
                points.setdefault((one.epoch, one.step, one.layer), {})[one.measure] = one.value
        return [
            CurvePoint(run.identity, run.seed, epoch, step, layer, values)
            for (epoch, step, layer), values in sorted(points.items())
        ]


def _history(folder: RunDirectory) -> list[EpochRecord]:
    with _damage_named(folder):
        return read_history(folder.history_file)


def _measurements(folder: RunDirectory) -> list[Measurement]:
    with _damage_named(folder):
        return read_measurements(folder.measures_file)


def _divergence(folder: RunDirectory) -> dict[str, Any]:
    with _damage_named(folder):
        table: dict[str, Any] = json.loads(folder.divergence_file.read_text(encoding="utf-8"))
        return table


@contextmanager
def _damage_named(folder: RunDirectory) -> Iterator[None]:
    """Name the folder whose files cannot be read, and the remedy."""
    try:
        yield
    except (OSError, ValueError, CheckpointError, RecipeError) as exc:
        raise StudyError(
            f"the run folder {folder.path} is damaged ({exc}); remove it, and the run is trained "
            "again"
        ) from exc


def _epochs_done(folder: RunDirectory) -> int:
    return len(_history(folder)) if folder.history_file.exists() else 0


def _probes(folder: RunDirectory) -> ProbesRecipe | None:
    """Return the probes of the run in a folder, None if there is none."""
    if not folder.recipe_file.exists():
        return None
    with _damage_named(folder):
        return load_recipe(str(folder.recipe_file)).probes


def _covers(folder: RunDirectory, wanted: ProbesRecipe) -> bool:
    """Return whether the run in a folder measures what is wanted, or more."""
    probes = _probes(folder)
    if probes is None:
        return False
    there = asdict(probes)
    return all(not value or there[key] == value for key, value in asdict(wanted).items())


def _made(folder: RunDirectory, run: PlannedRun) -> dict[str, str]:
    """Return where and with what a run was made."""
    sessions: list[dict[str, Any]] = []
    if folder.holds_run:
        with _damage_named(folder):
            sessions = load_checkpoint(folder.checkpoint_file).sessions
    elif folder.divergence_file.exists():  # before the first checkpoint
        sessions = [one for one in [_divergence(folder).get("session")] if one]
    last: dict[str, Any] = sessions[-1] if sessions else {}
    return {
        "precision": run.recipe.precision,
        "device": str(last.get("hardware", "")),
        "torch": str(last.get("versions", {}).get("torch", "")),
        "started": str(sessions[0]["started"]) if sessions else "",
    }
