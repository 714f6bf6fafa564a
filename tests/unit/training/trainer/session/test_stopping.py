"""Signals end a run between two steps."""

import os
import signal

import pytest
import typer

from training.trainer.session.stopping import STOPS, interruptible


class Report:
    def __init__(self):
        self.seen = []

    def on_step(self, epoch, step, steps, loss):
        self.seen.append(step)


@pytest.fixture
def heeded():
    """Signals as a terminal leaves them: nohup ignores SIGHUP, and so does a run under it."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_the_run_at_the_next_step(heeded, number):
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
