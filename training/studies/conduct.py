"""A study from its design to its rows: what is missing is trained, what is there is gathered.

The state of a study is read from its committed rows and its run folders, never from the memory of
a process, so a study that was killed goes on where it was. The first run registers the design:
`registration.json` keeps its hash, and the report says what was changed since.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

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


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's rows are, and where its runs train."""

    study: Study
    path: Path  # docs/studies/NAME
    runs: RunFolders

    def rows(self) -> list[Row]:
        """Return the rows so far, of all presets."""
        return read_rows(self.path / ROWS, tuple(self.study.factors))

    def curves(self) -> list[CurvePoint]:
        """Return the curves so far, of all presets."""
        return read_curves(self.path / CURVES)

    def states(self, planned: Sequence[PlannedRun]) -> dict[PlannedRun, str]:
        """Return the state of every run: `recorded` if it has a row, else what its folder says."""
        recorded = {(row.run, row.preset) for row in self.rows()}
        return {
            run: "recorded" if (run.identity, run.preset) in recorded else self.runs.state(run)
            for run in planned
        }

    def gather(self, planned: Sequence[PlannedRun]) -> int:
        """Write the rows of all runs that have ended; return how many are new."""
        new = [run for run, state in self.states(planned).items() if state in ("done", "diverged")]
        if not new:
            return 0
        rows, curves = self.rows(), self.curves()
        rows += [self.runs.row(run, self.study.thresholds) for run in new]
        known = {point.run for point in curves}
        for run in new:
            if run.identity not in known:
                curves += self.runs.curve(run)
        order = {(run.identity, run.preset): index for index, run in enumerate(planned)}
        rows.sort(key=lambda row: (row.preset, order.get((row.run, row.preset), 0)))
        # The curves first: a run is only known to be there once it has a row.
        write_curves(self.study.name, curves, self.path / CURVES)
        write_rows(rows, tuple(self.study.factors), self.path / ROWS)
        return len(new)

    def register(self, preset: str, device: torch.device) -> None:
        """Keep the design as it is before the first run of a preset."""
        registered = self.registrations()
        if preset in registered:
            return
        design = registered_design(self.study, preset, device)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        registered[preset] = {"sha256": design_hash(design), "registered": now, "design": design}
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(registered, indent=1) + "\n"
        (self.path / REGISTRATION).write_text(text, encoding="utf-8")

    def registrations(self) -> dict[str, dict[str, Any]]:
        """Return what was registered, by preset."""
        path = self.path / REGISTRATION
        table: dict[str, dict[str, Any]] = {}
        if path.exists():
            table = json.loads(path.read_text(encoding="utf-8"))
        return table


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
    states = folder.states(planned)
    # Absolute, for a worker may stand in another folder; each once, for cells may share a run.
    missing = {
        folder.runs.folder(run).path.resolve(): run.recipe
        for run, state in states.items()
        if state not in ("recorded", "done", "diverged")
    }
    jobs = [
        Job(recipe, path, data_dir.resolve(), device, threads) for path, recipe in missing.items()
    ]
    for path in missing:
        (path / ERROR_FILE).unlink(missing_ok=True)
    failed: list[Outcome] = []
    for outcome in executor.run(jobs):
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


def count_states(states: dict[PlannedRun, str]) -> dict[str, int]:
    """Return how many runs are in each state."""
    return dict(Counter(states.values()))


def work(planned: Sequence[PlannedRun]) -> tuple[int, int]:
    """Return how many images and steps the runs train on in all."""
    images = sum(training_images(run.recipe) * run.recipe.epochs for run in planned)
    return images, sum(steps_per_epoch(run.recipe) * run.recipe.epochs for run in planned)
