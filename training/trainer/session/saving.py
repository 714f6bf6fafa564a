"""Saving a run where there may be no room for it."""

from __future__ import annotations

import shutil
import time

from training.errors import SaveError
from training.trainer.run.run_directory import RunDirectory
from training.trainer.run.run_state import RunState
from training.trainer.session.console import say

TRIES, PAUSE_S = 12, 5.0  # of saving what would be lost otherwise


def save_patiently(
    run: RunState, directory: RunDirectory, tries: int = TRIES, pause_s: float = PAUSE_S
) -> None:
    """Save a run that is about to end; where there is no room, wait for it.

    Raises:
        SaveError: there was none in all that time.
    """
    for left in reversed(range(tries)):
        try:
            directory.save(run)
        except OSError as error:
            reason = not_saved(directory, error)
            if not left:
                raise SaveError(f"{reason}; what was trained since then is lost") from error
            if left == tries - 1:
                say(f"{reason}; make room: it is tried again for {tries * pause_s:.0f} s")
            time.sleep(pause_s)
        else:
            return


def not_saved(directory: RunDirectory, error: OSError) -> str:
    """Say what could not be saved, why, and what there is instead."""
    free = shutil.disk_usage(directory.path).free / 1e6
    kept = "the checkpoint before it is kept" if directory.holds_run else "there is none before it"
    return (
        f"cannot save the run to {directory.path} ({error.strerror or error}, {free:,.0f} MB "
        f"free); {kept}"
    )
