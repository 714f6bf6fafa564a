"""What a person sees while a network trains."""

import io
import re

import pytest
from rich.console import Console

from models.history import EpochRecord
from training.trainer.evaluate import RunResult
from training.trainer.session.console import ProgressReport, run_report, runs_report

RECORD = EpochRecord(3, 1e-3, 0.5123, 0.8, 0.6234, 0.79, 101.5, 6.2)


def shown(*, terminal, width=60):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width)
    with ProgressReport(epochs=10, batch_size=32, console=console) as report:
        report.on_step(3, 25, 100, 1.25)
        report.on_step(3, 50, 100, 1.0)
        report.on_epoch(RECORD)
        tasks = [(task.completed, task.total, task.speed) for task in report.bar.tasks]
    return stream.getvalue(), tasks[0]


def test_where_there_is_no_terminal_each_epoch_is_one_line():
    output, _ = shown(terminal=False)
    assert output.splitlines() == [
        "epoch   3/10  train loss 0.5123  accuracy 80.00%"
        "  test loss 0.6234  accuracy 79.00%  101.5 + 6.2 s"
    ]


def test_the_bar_spans_the_whole_run():
    _, (completed, total, _) = shown(terminal=True)
    assert (completed, total) == (250, 1000)


def test_the_steps_before_a_resume_are_no_speed():
    clock = iter(range(100, 200, 10))
    with ProgressReport(10, 32, Console(file=io.StringIO(), force_terminal=True)) as report:
        report.bar.get_time = lambda: next(clock)
        report.bar.stop()  # no refreshing thread that would read the clock too
        report.on_step(3, 25, 100, 1.25)
        report.on_step(3, 50, 100, 1.0)
        report.on_step(3, 75, 100, 1.0)
        speed = report.bar.tasks[0].speed
    assert speed == pytest.approx(25 / 10)


def test_a_terminal_sees_throughput_loss_and_epoch():
    output, _ = shown(terminal=True, width=120)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)
    assert "epoch 3/10  loss 1.000" in plain


def result(seed, single, six, before=None, seconds=100.0):
    return RunResult(seed, 20, single, six, before, seconds)


def test_a_runs_report_has_both_accuracies_and_the_timers():
    report = run_report(result(7, 0.9321, 0.9402, before=0.93), {"build": 3.0, "prepare": 4.25})
    assert report.splitlines() == [
        "seed 7: test accuracy single view 93.21% (93.00% before PreciseBN), "
        "test-time augmentation 94.02%",
        "build 3.0 s  prepare 4.2 s  train 100.0 s",
    ]
    assert "PreciseBN" not in run_report(result(7, 0.9, 0.9), {})


def test_the_report_of_several_has_n_mean_deviation_and_error():
    report = runs_report([result(0, 0.93, 0.94), result(1, 0.94, 0.95)])
    assert report.splitlines()[0] == (
        "single view, % n 2  mean 93.50  std 0.71  s.e. 0.50  93.00 to 94.00"
    )
    assert [line.split(" n ")[0].strip() for line in report.splitlines()] == [
        "single view, %",
        "augmented, %",
        "train, s",
    ]
