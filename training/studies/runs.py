"""The run folders of a study: what state each run is in, and what it has to say."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from models.history import EpochRecord, read_history
from training.data.cifar10 import LABELS
from training.recipes import load_recipe
from training.recipes.recipe import ProbesRecipe
from training.studies.measures import diverged_measures, run_measures
from training.studies.plan import PlannedRun, steps_per_epoch
from training.studies.rows import CurvePoint, Row
from training.trainer.checkpoint import load_checkpoint
from training.trainer.probes.measurement import read_measurements
from training.trainer.run_directory import RunDirectory

State = Literal["missing", "interrupted", "training", "failed", "diverged", "done"]
ERROR_FILE = "error.txt"
CHANCE = 1 / len(LABELS)


@dataclass(frozen=True)
class RunFolders:
    """The folder that holds the folders of all runs, of every study."""

    path: Path

    def folder(self, run: PlannedRun) -> RunDirectory:
        """Return where a run is or will be.

        A folder of the same weights whose probes measured at least as much will do.
        """
        for found in sorted(self.path.glob(f"{run.identity}-*")):
            folder = RunDirectory(found)
            if folder.recipe_file.exists() and _covers(folder, run.recipe.probes):
                return folder
        return RunDirectory(self.path / run.folder)

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
            epochs = int(json.loads(folder.divergence_file.read_text(encoding="utf-8"))["epoch"])
            measures = diverged_measures(CHANCE)
        else:
            history = _history(folder)[: run.recipe.epochs]
            epochs = len(history)
            measurements = read_measurements(folder.measures_file)
            measures = run_measures(history, measurements, thresholds)
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
        measurements = read_measurements(folder.measures_file)
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
    return read_history(folder.history_file)


def _covers(folder: RunDirectory, wanted: ProbesRecipe) -> bool:
    """Return whether the run in a folder measures what is wanted, or more."""
    there = asdict(load_recipe(str(folder.recipe_file)).probes)
    return all(not value or there[key] == value for key, value in asdict(wanted).items())


def _made(folder: RunDirectory, run: PlannedRun) -> dict[str, str]:
    """Return where and with what a run was made."""
    sessions: list[dict[str, Any]] = []
    if folder.holds_run:
        sessions = load_checkpoint(folder.checkpoint_file).sessions
    last: dict[str, Any] = sessions[-1] if sessions else {}
    return {
        "precision": run.recipe.precision,
        "device": str(last.get("hardware", "")),
        "torch": str(last.get("versions", {}).get("torch", "")),
        "started": str(sessions[0]["started"]) if sessions else "",
    }
