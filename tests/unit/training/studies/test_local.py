"""Runs as processes: what is tried again, what is waited for, and what has failed."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from training.recipes import load_recipe
from training.studies.execution import LocalExecutor, local
from training.studies.execution.job import RETRIES, Job
from training.trainer.run.run_directory import RunDirectory


@pytest.fixture
def job(tmp_path):
    return Job(load_recipe("smoke"), tmp_path, Path("data"), "cpu", 1)


def exits(monkeypatch, *codes):
    """Have the processes of the runs end with these codes, one after the other."""
    waiting = list(codes)

    def start(job, attempt):
        if RunDirectory(job.folder).is_locked:
            return local.Slot(job, None, attempt - 1)
        (job.folder / local.LOG_FILE).write_text("the last line\n")
        code = f"import sys, os; sys.exit({waiting.pop(0)})"
        return local.Slot(job, subprocess.Popen([sys.executable, "-c", code]), attempt)

    monkeypatch.setattr(local, "_start", start)
    monkeypatch.setattr(local, "POLL_S", 0.05)
    return waiting


def test_a_run_that_was_told_to_stop_goes_on(job, monkeypatch):
    left = exits(monkeypatch, 130, 0)
    (outcome,) = LocalExecutor(1).run([job])
    assert (outcome.error, outcome.attempts, left) == ("", 2, [])


def test_a_run_that_is_stopped_every_time_has_failed(job, monkeypatch):
    exits(monkeypatch, *[130] * (RETRIES + 1))
    (outcome,) = LocalExecutor(1).run([job])
    assert outcome.error == f"stopped with exit code 130, {RETRIES + 1} times"


def test_a_run_that_fails_says_its_last_line_and_is_not_tried_again(job, monkeypatch):
    left = exits(monkeypatch, 1, 0)
    (outcome,) = LocalExecutor(1).run([job])
    assert (outcome.error, left) == ("the last line", [0])


def test_a_run_that_another_call_began_first_is_waited_for_and_taken_up(job, monkeypatch):
    exits(monkeypatch, 1, 0)
    begun, over = threading.Event(), threading.Event()

    def other_call():
        with RunDirectory(job.folder).locked():
            begun.set()
            over.wait(30)

    thread = threading.Thread(target=other_call)
    start = local._start

    def start_too_late(job, attempt):
        slot = start(job, attempt)
        if slot.process and not begun.is_set():
            thread.start()
            begun.wait(30)
            threading.Timer(0.5, over.set).start()
        return slot

    monkeypatch.setattr(local, "_start", start_too_late)
    (outcome,) = LocalExecutor(1).run([job])
    thread.join()
    assert (outcome.error, outcome.attempts) == ("", 1)
