"""A study from its design to its rows: what is missing is trained, what is there is gathered.

The state of a study is read from its committed rows and its run folders, never from the memory of
a process, so a study that was killed goes on where it was. The first run registers the design:
`registration.json` keeps its hash, and the report says what was changed since.
"""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from models.files import replace_text
from training.errors import StudyError
from training.studies.design import Study
from training.studies.execution.job import Executor, Job, Outcome
from training.studies.plan import (
    PlannedRun,
    design_hash,
    registered_design,
    steps_per_epoch,
    training_images,
)
from training.studies.rows import (
    CURVES,
    ROWS,
    CurvePoint,
    Row,
    read_curves,
    read_rows,
    write_curves,
    write_rows,
)
from training.studies.runs import ERROR_FILE, RunFolders

REGISTRATION = "registration.json"
LOCK = ".lock"
ENDED = ("done", "diverged")


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's rows are, and where its runs train."""

    study: Study
    path: Path  # docs/studies/NAME
    runs: RunFolders

    def rows(self) -> list[Row]:
        """Return the rows so far, of all presets."""
        return read_rows(self.path / ROWS, self.study.name, tuple(self.study.factors))

    def curves(self) -> list[CurvePoint]:
        """Return the curves so far, of all presets."""
        return read_curves(self.path / CURVES)

    def states(self, planned: Sequence[PlannedRun]) -> dict[PlannedRun, str]:
        """Return the state of every run: `recorded` if it has a row, else what its folder says."""
        rows = {row.key: row for row in self.rows()}
        return {
            run: "recorded" if _is_recorded(run, rows.get(_key(run))) else self.runs.state(run)
            for run in planned
        }

    def has_ended(self, run: PlannedRun) -> bool:
        """Return whether a run's folder holds its result."""
        return self.runs.state(run) in ENDED

    def gather(self, planned: Sequence[PlannedRun]) -> int:
        """Write the rows of all runs that have ended; return how many are new.

        A row of an earlier design gives way to that of the same cell and seed, and a curve to a
        longer one.
        """
        with self._locked():
            states = self.states(planned)
            new = [run for run, state in states.items() if state in ENDED]
            if not new:
                return 0
            rows = {row.key: row for row in self.rows()}
            curves: dict[str, list[CurvePoint]] = {}
            for point in self.curves():
                curves.setdefault(point.run, []).append(point)
            for run in new:
                row, curve = self.runs.row(run, self.study.thresholds), self.runs.curve(run)
                rows[row.key] = row
                curves[row.run] = max(curve, curves.get(row.run, []), key=len)
            order = {_key(run): index for index, run in enumerate(planned)}
            in_order = sorted(rows.values(), key=lambda row: (row.preset, order.get(row.key, 0)))
            needed = {row.run for row in in_order}
            points = [one for run, curve in curves.items() if run in needed for one in curve]
            # The curves first: a run is only known to be there once it has a row.
            write_curves(self.study.name, points, self.path / CURVES)
            write_rows(in_order, tuple(self.study.factors), self.path / ROWS)
            return len(new)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other calls from changing the tables meanwhile."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("a", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def register(self, preset: str, device: torch.device) -> None:
        """Keep the design as it is before the first run of a preset."""
        with self._locked():
            registered = self.registrations()
            if preset in registered:
                return
            design = registered_design(self.study, preset, device)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            registered[preset] = {
                "sha256": design_hash(design),
                "registered": now,
                "design": design,
            }
            replace_text(self.path / REGISTRATION, json.dumps(registered, indent=1) + "\n")

    def registrations(self) -> dict[str, dict[str, Any]]:
        """Return what was registered, by preset: `sha256`, `registered` (when) and `design`.

        Raises:
            StudyError: the file is damaged.
        """
        path = self.path / REGISTRATION
        if not path.exists():
            return {}
        try:
            table: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
            for entry in table.values():
                datetime.fromisoformat(entry["registered"]), entry["sha256"], entry["design"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise StudyError(
                f"{path} is damaged ({exc!r}); restore it, by git checkout for example"
            ) from exc
        return table


def _key(run: PlannedRun) -> tuple[object, ...]:
    """Return the key that the row of a run has."""
    return run.preset, tuple(sorted(run.cell)), run.seed


def _is_recorded(run: PlannedRun, row: Row | None) -> bool:
    if row is None or row.run != run.identity:
        return False
    return row.status == "diverged" or row.epochs == run.recipe.epochs


def run_study(
    folder: StudyFolder,
    planned: Sequence[PlannedRun],
    executor: Executor,
    *,
    data_dir: Path,
    device: str,
    threads: int,
    fail_fast: bool = False,
) -> Iterator[Outcome]:
    """Train what is missing and yield each run as it ends, its row written.

    Raises:
        StudyError: runs failed; the others were trained, or with `fail_fast` were not.
    """
    folder.gather(planned)
    left = missing_runs(folder, planned)
    for path in left:
        (path / ERROR_FILE).unlink(missing_ok=True)
    # Absolute, for a worker may stand in another folder.
    jobs = [
        Job(folder.runs.recipe(run), path, data_dir.resolve(), device, threads)
        for path, run in left.items()
    ]
    failed: list[Outcome] = []
    for outcome in executor.run(jobs):
        if not outcome.error and not folder.has_ended(left[outcome.job.folder]):
            outcome = replace(outcome, error="ended, but its folder holds no finished run")
        if outcome.error:
            failed.append(outcome)
            outcome.job.folder.mkdir(parents=True, exist_ok=True)  # it may not have come so far
            (outcome.job.folder / ERROR_FILE).write_text(outcome.error + "\n", encoding="utf-8")
        folder.gather(planned)
        yield outcome
        if failed and fail_fast:
            break
    if failed:
        reasons = "; ".join(f"{one.job.folder.name}: {one.error}" for one in failed)
        raise StudyError(
            f"{len(failed)} of {len(jobs)} runs failed ({reasons}); mend the cause and repeat the "
            "command: finished runs are kept"
        )


def missing_runs(folder: StudyFolder, planned: Sequence[PlannedRun]) -> dict[Path, PlannedRun]:
    """Return the runs that are to be trained, by their folders.

    Cells may share a run: each folder is there once, with the longest run that is wanted of it.
    """
    missing: dict[Path, PlannedRun] = {}
    for run, state in folder.states(planned).items():
        if state not in ("recorded", *ENDED):
            path = folder.runs.folder(run).path.resolve()
            missing[path] = max(run, missing.get(path, run), key=lambda one: one.recipe.epochs)
    return missing


def count_states(states: dict[PlannedRun, str]) -> dict[str, int]:
    """Return how many runs are in each state."""
    return dict(Counter(states.values()))


def work(planned: Sequence[PlannedRun]) -> tuple[int, int]:
    """Return how many images and steps the runs train on in all."""
    images = sum(training_images(run.recipe) * run.recipe.epochs for run in planned)
    return images, sum(steps_per_epoch(run.recipe) * run.recipe.epochs for run in planned)
