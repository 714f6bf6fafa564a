"""A training session: its signals and its events for TensorBoard."""

import errno
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.history import EpochRecord
from training.errors import SaveError
from training.recipes import load_recipe
from training.trainer.distributed import Workers
from training.trainer.session import (
    STOPS,
    TrainingSession,
    interruptible,
    save_patiently,
    write_tensorboard,
)

SPLITS = ("train", "test")
RECORD = EpochRecord(1, 1e-3, 1.5, 0.25, 1.25, 0.5, 100.0, 5.0)


class Report:
    def __init__(self):
        self.seen = []

    def on_step(self, epoch, step, steps, loss):
        self.seen.append(step)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_the_run_at_the_next_step(number):
    report = Report()
    with interruptible(report) as observer:
        assert not observer.on_step(1, 25, 100, 0.5)
        os.kill(os.getpid(), number)
        assert observer.on_step(1, 50, 100, 0.5)
    assert report.seen == [25, 50]


def test_a_second_signal_ends_the_process_without_saving(capsys):
    """Saved, amid a step, the weights would fit no step's number."""
    with interruptible(Report()):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(typer.Exit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "stopped at once; the last checkpoint is kept\n"


def test_of_several_processes_a_second_signal_is_the_first_one_passed_on():
    with interruptible(Report(), alone=False) as observer:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert observer.on_step(1, 25, 100, 0.5)


def test_a_hang_up_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(Report()) as observer:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not observer.on_step(1, 25, 100, 0.5)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in STOPS]
    with interruptible(Report()):
        assert before != [signal.getsignal(number) for number in STOPS]
    assert before == [signal.getsignal(number) for number in STOPS]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_reads_back_each_epoch(tmp_path):
    for epoch, accuracy in ((1, 0.5), (2, 0.75)):
        record = EpochRecord(epoch, 1e-3, 1.5, 0.25, 1.25, accuracy, 100.0, 5.0)
        write_tensorboard(record, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = {f"{measure}/{split}" for measure in ("loss", "accuracy", "seconds") for split in SPLITS}
    assert tags | {"learning_rate"} == set(events.Tags()["scalars"])
    curve = [(event.step, event.value) for event in events.Scalars("accuracy/test")]
    assert curve == [(1, 0.5), (2, 0.75)]


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
