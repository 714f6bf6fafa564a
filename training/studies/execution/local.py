"""Runs as processes of this machine, `jobs` at a time.

Each is an ordinary `foldnorm train` of its own, so one that is killed takes no other with it. A
folder that a process of an earlier call still trains in is waited for, in a slot of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.studies.execution.job import RETRIES, Job, Outcome
from training.trainer.run.run_directory import RunDirectory

LOG_FILE = "train.log"
STOPPED = frozenset({130, *range(-64, 0)})  # exit codes of a process that a signal ended
POLL_S = 0.5


@dataclass
class Slot:
    """A job under way; without a process it is another call's, and waited for."""

    job: Job
    process: subprocess.Popen[bytes] | None
    attempts: int

    @property
    def ended(self) -> bool:
        """Whether nobody trains the job any more."""
        if self.process is None:
            return not RunDirectory(self.job.folder).is_locked
        return self.process.poll() is not None

    @property
    def killed(self) -> bool:
        """Whether the process was ended by a signal, or was not ours to know.

        130 is a run that was told to stop and has saved.
        """
        return self.process is None or self.process.returncode in STOPPED


@dataclass(frozen=True)
class LocalExecutor:
    """Trains up to `jobs` runs at a time."""

    jobs: int

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield each job as it ends; on Ctrl-C the runs under way save and stop."""
        waiting = deque((job, 1) for job in jobs)
        slots: list[Slot] = []
        try:
            while waiting or slots:
                while waiting and len(slots) < self.jobs:
                    slots.append(_start(*waiting.popleft()))
                time.sleep(POLL_S)
                for slot in [slot for slot in slots if slot.ended]:
                    slots.remove(slot)
                    if RunDirectory(slot.job.folder).is_locked:  # another call was faster
                        slots.append(Slot(slot.job, None, slot.attempts - 1))
                    elif slot.killed and slot.attempts <= RETRIES:
                        waiting.appendleft((slot.job, slot.attempts + 1))
                    else:
                        yield Outcome(slot.job, slot.attempts, _error(slot))
        finally:
            _stop(slots)


def _start(job: Job, attempt: int) -> Slot:
    folder = RunDirectory(job.folder)
    if folder.is_locked:
        return Slot(job, None, attempt - 1)  # then it is ours, from where the other left it
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.describe(job.recipe)
    command = [
        *(sys.executable, "-m", "training.cli.app", "train", str(folder.recipe_file)),
        *("--run-dir", str(folder.path), "--data-dir", str(job.data_dir)),
        *("--device", job.device, "--threads", str(job.threads)),
        *(("--resume",) if folder.holds_run else ()),
    ]
    with (folder.path / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on: a second signal would not save
        )
    return Slot(job, process, attempt)


def _error(slot: Slot) -> str:
    """Return the last line that a failed run said; none of one that ended well or diverged."""
    assert slot.process is not None, "a run of another call is always taken up again"
    if slot.process.returncode == 0 or RunDirectory(slot.job.folder).divergence_file.exists():
        return ""
    if slot.killed:
        return f"stopped with exit code {slot.process.returncode}, {slot.attempts} times"
    return _last_line(slot.job.folder / LOG_FILE) or f"exit code {slot.process.returncode}"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _stop(slots: Sequence[Slot]) -> None:
    """Have the runs under way save and stop, and wait for them."""
    own = [slot.process for slot in slots if slot.process is not None]
    for process in own:
        process.terminate()
    for process in own:
        process.wait()
