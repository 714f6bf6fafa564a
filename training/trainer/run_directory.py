"""A run on disk: its checkpoint and its learning curve."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from models import history
from training.errors import CheckpointError
from training.trainer import checkpoint
from training.trainer.loop import TrainingRun


@dataclass(frozen=True)
class RunDirectory:
    """One folder per run."""

    path: Path

    @property
    def checkpoint_file(self) -> Path:
        """Where the run can be taken up again."""
        return self.path / checkpoint.FILE_NAME

    @property
    def history_file(self) -> Path:
        """The learning curve so far."""
        return self.path / history.FILE_NAME

    @property
    def result_file(self) -> Path:
        """What the finished run came to: a `RunResult`."""
        return self.path / "outcome.json"

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

    def open(self, run: TrainingRun, *, resume: bool) -> None:
        """Bring the run to where the folder's checkpoint stands, or refuse to overwrite one.

        Raises:
            CheckpointError: as of `check`, or the checkpoint is of another run, or the folder
                cannot be written to.
        """
        self.check(resume=resume)
        if resume:
            run.restore(checkpoint.load_checkpoint(self.checkpoint_file))
        else:
            self._create()

    def save(self, run: TrainingRun) -> None:
        """Write the run's checkpoint, then its learning curve."""
        checkpoint.save_checkpoint(run.checkpoint(), self.checkpoint_file)
        history.write_history(run.history, self.history_file)
        if run.result:
            text = json.dumps(asdict(run.result), indent=1) + "\n"
            self.result_file.write_text(text, encoding="utf-8")

    def _create(self) -> None:
        """Make the folder now: an epoch later its work would be lost."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CheckpointError(
                f"cannot make the folder {self.path} ({exc.strerror}); choose another --run-dir"
            ) from exc
