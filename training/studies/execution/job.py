"""A job is a run to be trained in a folder; an outcome says how the attempt ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training.recipes import Recipe

RETRIES = 2  # of a run whose process was killed; it goes on from its checkpoint


@dataclass(frozen=True)
class Job:
    """A run to be trained, or to be gone on with, in its folder."""

    recipe: Recipe  # with its seed, epochs and precision
    folder: Path
    data_dir: Path
    device: str
    threads: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended: without an error, or with the last thing it said."""

    job: Job
    attempts: int
    error: str = ""  # a run that diverged has none: that is a result


class Executor(Protocol):
    """Trains jobs, several at a time, in their order."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield each job as it ends.

        Raises:
            KeyboardInterrupt: after the jobs under way were told to save and stop.
        """
