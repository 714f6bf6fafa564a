"""Ctrl-C, SIGTERM and a hang-up end a run between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from training.trainer.loop import Observer
from training.trainer.session.console import say

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StopAtStep:
    """An observer that passes everything on, and stops the run at a step once asked to."""

    def __init__(self, report: Observer) -> None:
        self.report = report
        self.stop = False

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> bool:
        self.report.on_step(epoch, step, steps, loss)
        return self.stop


@contextmanager
def interruptible(report: Observer, *, alone: bool = True) -> Iterator[Observer]:
    """Turn Ctrl-C, SIGTERM and a hang-up into a stop between two steps.

    A second one stops at once, and saves nothing: amid a step the weights fit no step's number. Not
    where several processes train together: there torchrun passes on what they have received too. A
    hang-up that is ignored, as under nohup, stays so.
    """
    observer = _StopAtStep(report)

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        if observer.stop and alone:
            say("stopped at once; the last checkpoint is kept")
            raise typer.Exit(130)
        observer.stop = True

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heeded = [one for one in STOPS if not (ignored and one is signal.SIGHUP)]
    previous = {one: signal.signal(one, request_stop) for one in heeded}
    try:
        yield observer
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
