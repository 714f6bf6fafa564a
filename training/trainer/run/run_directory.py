"""A run on disk: its recipe, its checkpoint, its learning curve, and how it ended.

In its folder are

    recipe.toml       everything that decides the run, seed and precision as they really are
    checkpoint.pt     where it can be taken up again
    best.pt           the epoch that was best on held-out images, if the recipe holds some out
    history.jsonl     the learning curve
    measures.jsonl    what its probes have measured, if it has any
    outcome.json      what the finished run came to, or
    diverged.json     where its loss stopped being a number
    .lock             held by the process that trains it
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import tomli_w

from models import history
from models.files import replace_text
from training.errors import CheckpointError, DivergedError
from training.recipes import Recipe
from training.trainer.probes import measurement
from training.trainer.run import checkpoint
from training.trainer.run.run_state import RunState

LOCK_ATTEMPTS = 10


@dataclass(frozen=True)
class RunDirectory:
    """One folder per run."""

    path: Path

    @property
    def checkpoint_file(self) -> Path:
        """Where the run can be taken up again."""
        return self.path / checkpoint.FILE_NAME

    @property
    def best_file(self) -> Path:
        """The weights of the epoch that was best on held-out images."""
        return self.path / "best.pt"

    @property
    def history_file(self) -> Path:
        """The learning curve so far."""
        return self.path / history.FILE_NAME

    @property
    def result_file(self) -> Path:
        """What the finished run came to: a `RunResult`."""
        return self.path / "outcome.json"

    @property
    def divergence_file(self) -> Path:
        """Where and why the run diverged, if it did."""
        return self.path / "diverged.json"

    @property
    def measures_file(self) -> Path:
        """What the run's probes have measured."""
        return self.path / measurement.FILE_NAME

    @property
    def lock_file(self) -> Path:
        """Held by the process that trains the run, whose number is in it."""
        return self.path / ".lock"

    @property
    def recipe_file(self) -> Path:
        """The run's recipe."""
        return self.path / "recipe.toml"

    def load_best(self) -> checkpoint.Checkpoint:
        """Read the epoch that was best on held-out images.

        Raises:
            CheckpointError: the run held none out, or the file is damaged.
        """
        if not self.best_file.is_file():
            raise CheckpointError(
                f"{self.path} keeps no best epoch, since its recipe holds no images out; train "
                "with --set data.held_out=5_000, or export the last epoch without --best"
            )
        return checkpoint.load_checkpoint(self.best_file)

    @property
    def holds_run(self) -> bool:
        """Whether there is a checkpoint."""
        return self.checkpoint_file.exists()

    def check(self, *, resume: bool) -> None:
        """Refuse early what `open` would refuse.

        Raises:
            CheckpointError: there is a checkpoint and no `resume`, or none to resume from.
        """
        if resume and not self.holds_run:
            raise CheckpointError(
                f"no checkpoint at {self.checkpoint_file}; start the run without --resume"
            )
        if self.holds_run and not resume:
            raise CheckpointError(
                f"{self.path} already holds a run; add --resume to continue it, "
                "or choose another --run-dir"
            )

    def open(self, run: RunState, *, resume: bool) -> None:
        """Bring the run to where the folder's checkpoint stands, or refuse to overwrite one.

        Raises:
            CheckpointError: as of `check`, or the checkpoint is of another run, or the folder
                cannot be written to.
        """
        self.check(resume=resume)
        if resume:
            run.restore(checkpoint.load_checkpoint(self.checkpoint_file))

    @property
    def is_locked(self) -> bool:
        """Whether a process trains in this folder."""
        if not self.lock_file.exists():
            return False
        with self.lock_file.open("a", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training in this folder.

        The lock is the operating system's: it ends with the process, however that ends.

        Raises:
            CheckpointError: another process trains here, or the folder cannot be written to.
        """
        with self._create() as file:
            # Whoever looks whether a run is locked holds the lock for a moment.
            for attempt in range(LOCK_ATTEMPTS):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as exc:
                    if attempt + 1 == LOCK_ATTEMPTS:
                        file.seek(0)
                        raise CheckpointError(
                            f"{self.path} is being trained by the process {file.read()}; "
                            "wait for it, stop it, or choose another --run-dir"
                        ) from exc
                    time.sleep(0.05)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def describe(self, recipe: Recipe) -> None:
        """Write the recipe of the run."""
        replace_text(self.recipe_file, tomli_w.dumps(recipe.to_toml()))

    def record_divergence(self, run: RunState, error: DivergedError) -> None:
        """Write how far the run came: a divergence is a result too."""
        table = {
            "seed": run.seed,
            "epoch": run.progress.epoch + 1,
            "step": run.progress.step,
            "message": str(error),
            "session": run.sessions[-1] if run.sessions else {},
        }
        replace_text(self.divergence_file, json.dumps(table, indent=1) + "\n")

    def save(self, run: RunState) -> None:
        """Write the run's measurements, its learning curve, its best epoch and its checkpoint.

        In this order: a curve that is complete has all its measurements, and whatever is ahead of
        the checkpoint comes again, the same, when the run goes on.

        Raises:
            OSError: there is no room; the checkpoint of before is kept.
        """
        if run.probing.measurements:
            measurement.write_measurements(run.probing.measurements, self.measures_file)
        history.write_history(run.history, self.history_file)
        if best := run.best_checkpoint():
            checkpoint.save_checkpoint(best, self.best_file)
        checkpoint.save_checkpoint(run.checkpoint(), self.checkpoint_file)
        if run.result:
            replace_text(self.result_file, json.dumps(asdict(run.result), indent=1) + "\n")

    def _create(self) -> TextIO:
        """Make the folder and open the lock in it now: an epoch later its work would be lost."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return self.lock_file.open("a+", encoding="ascii")
        except OSError as exc:
            raise CheckpointError(
                f"cannot write to the run folder {self.path} ({exc.strerror}); make it writable, "
                "or choose another --run-dir"
            ) from exc
