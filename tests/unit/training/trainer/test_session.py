"""A training session: its signals and its events for TensorBoard."""

import os
import signal

import pytest
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.history import EpochRecord
from training.trainer.session import interruptible, write_tensorboard

RECORD = EpochRecord(1, 1e-3, 1.5, 0.25, 1.25, 0.5, 100.0, 5.0)


class Report:
    def __init__(self):
        self.seen = []

    def on_step(self, epoch, step, steps, loss):
        self.seen.append(step)

    def on_epoch(self, record):
        self.seen.append(record)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_at_the_next_step_but_never_at_an_epochs_last(number):
    report = Report()
    with interruptible(report) as observer:
        observer.on_step(1, 25, 100, 0.5)
        os.kill(os.getpid(), number)
        observer.on_step(1, 100, 100, 0.5)  # the epoch is done: it is measured and saved first
        observer.on_epoch(RECORD)
        with pytest.raises(KeyboardInterrupt):
            observer.on_step(2, 25, 100, 0.5)
    assert report.seen == [25, 100, RECORD, 25]


def test_a_second_signal_ends_the_process_without_saving(capsys):
    """`KeyboardInterrupt` would be saved, and amid a step the weights fit no step's number."""
    with interruptible(Report()):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(typer.Exit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "stopped at once; the last checkpoint is kept\n"


def test_the_handlers_of_before_come_back():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible(Report()):
        assert before != [signal.getsignal(number) for number in numbers]
    assert before == [signal.getsignal(number) for number in numbers]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_reads_back_each_epoch(tmp_path):
    for epoch, accuracy in ((1, 0.5), (2, 0.75)):
        record = EpochRecord(epoch, 1e-3, 1.5, 0.25, 1.25, accuracy, 100.0, 5.0)
        write_tensorboard(record, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = {name.replace("_", "/", 1) for name in RECORD.to_dict()} - {"epoch"}
    assert tags == set(events.Tags()["scalars"])
    curve = [(event.step, event.value) for event in events.Scalars("test/accuracy")]
    assert curve == [(1, 0.5), (2, 0.75)]
