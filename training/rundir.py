"""A run on disk: its checkpoint and its learning curve."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from models import history
from training import checkpoint
from training.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from training.loop import TrainingRun


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
    def outcome_file(self) -> Path:
        """What the finished run came to."""
        return self.path / "outcome.json"

    def open(self, run: TrainingRun, *, resume: bool, writes: bool = True) -> None:
        """Bring the run to where the folder's checkpoint stands, or refuse to overwrite one.

        Of several processes one `writes`, the others only look.

        Raises:
            CheckpointError: there is a checkpoint and no `resume`, or none to resume from, or the
                folder cannot be written to.
        """
        if resume:
            run.restore(checkpoint.load_checkpoint(self.checkpoint_file))
        elif self.checkpoint_file.exists():
            raise CheckpointError(
                f"{self.path} already holds a run; add --resume to continue it, "
                "or choose another --run-dir"
            )
        elif writes:
            self._create()

    def save(self, run: TrainingRun) -> None:
        """Write the run's checkpoint, then its learning curve."""
        checkpoint.save_checkpoint(run.checkpoint(), self.checkpoint_file)
        history.write_history(run.history, self.history_file)
        if run.outcome:
            text = json.dumps(asdict(run.outcome), indent=1) + "\n"
            self.outcome_file.write_text(text, encoding="utf-8")

    def _create(self) -> None:
        """Make the folder now: an epoch later its work would be lost."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CheckpointError(
                f"cannot make the folder {self.path} ({exc.strerror}); choose another --run-dir"
            ) from exc
