"""Saving on a full disk, and what a session does about an epoch that was not saved."""

import errno
import re
from types import SimpleNamespace

import pytest
import torch

from models.history import EpochRecord
from training.errors import SaveError
from training.recipes import load_recipe
from training.trainer.distributed import Workers
from training.trainer.session.saving import save_patiently
from training.trainer.session.session import TrainingSession

RECORD = EpochRecord(1, 1e-3, 1.5, 0.25, 1.25, 0.5, 100.0, 5.0)


class FullDisk:
    """A run folder on a disk that is full for the first saves."""

    def __init__(self, path, failures):
        self.path, self.failures, self.saves = path, failures, 0
        self.holds_run = False

    def save(self, _run):
        self.saves += 1
        if self.saves <= self.failures:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_the_end_of_a_run_waits_for_room(tmp_path, capsys):
    disk = FullDisk(tmp_path, failures=2)
    save_patiently(None, disk, tries=3, pause_s=0)
    assert disk.saves == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"cannot save the run to .* \(No space left on device, [\d,]+ MB free\)", line)


def test_a_run_that_finds_no_room_says_what_is_lost(tmp_path, capsys):
    disk = FullDisk(tmp_path, failures=3)
    with pytest.raises(SaveError, match="there is none before it; what was trained since then is"):
        save_patiently(None, disk, tries=3, pause_s=0)
    assert disk.saves == 3


def test_an_epoch_that_finds_no_room_does_not_end_the_run(tmp_path, capsys):
    session = TrainingSession(
        load_recipe("keras-bn"), torch.device("cpu"), torch.float32, Workers(), False, False, False
    )
    run = SimpleNamespace(finished=False)
    reported = []
    report = SimpleNamespace(on_epoch=reported.append)
    session.keep(run, RECORD, FullDisk(tmp_path, failures=1), report)
    assert reported == [RECORD]
    assert "going on, the next epoch is saved again" in capsys.readouterr().err
