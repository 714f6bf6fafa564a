"""What a person sees of a run: a bar with throughput and time left, and one line an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import nn

from models.history import EpochRecord
from training.evaluation.seed_statistics import Statistics, statistics_of
from training.recipes import Recipe
from training.trainer.evaluate import RunResult

SECONDS_BETWEEN_LINES = 60  # within an epoch, where there is no terminal to draw a bar on


class ReportConsole(Console):
    """A console whose closed pipe is an error like any other, and no exit."""

    def on_broken_pipe(self) -> None:
        """Raise it again."""
        raise


class ProgressReport:
    """Draw the run on a console; where that is no terminal, only lines are written.

    A line after each epoch, and within long ones every minute.
    """

    def __init__(
        self,
        epochs: int,
        batch_size: int,
        console: Console | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Report on a run; `quiet` reports nothing, for all processes but one."""
        self.epochs = epochs
        self.batch_size = batch_size
        self.console = console or ReportConsole(quiet=quiet)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[throughput]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, throughput="")
        self.last_line = time.monotonic()

    def __enter__(self) -> ProgressReport:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the terminal may be gone
            self.bar.stop()

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Move the bar, which spans the whole run, so that the time left is the run's."""
        speed = self.bar.tasks[0].speed  # steps per second
        throughput = f"{speed * self.batch_size:,.0f} images/s" if speed else ""
        # A resumed run starts where it stood: that leap is no speed.
        move = self.bar.update if self.bar.tasks[0].total else self.bar.reset
        move(
            self.task,
            description=f"epoch {epoch}/{self.epochs}  loss {loss:.3f}",
            completed=(epoch - 1) * steps + step,
            total=self.epochs * steps,
            throughput=throughput,
        )
        if not self.console.is_terminal and step < steps:
            self._line_within(epoch, step, steps, loss)

    def _line_within(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Write where an epoch stands that takes longer than a reader would wait."""
        now = time.monotonic()
        if now - self.last_line < SECONDS_BETWEEN_LINES:
            return
        self.last_line = now
        task = self.bar.tasks[0]
        left = task.time_remaining
        self._print(
            f"epoch {epoch:>3}/{self.epochs}  step {step:,} of {steps:,}  loss {loss:.4f}"
            f"  {task.fields['throughput']}" + (f"  {left / 60:,.0f} min left" if left else "")
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the epoch's line."""
        self.last_line = time.monotonic()
        self._print(
            f"epoch {record.epoch:>3}/{self.epochs}"
            f"  train loss {record.train_loss:.4f}  accuracy {record.train_accuracy:.2%}"
            f"  test loss {record.test_loss:.4f}  accuracy {record.test_accuracy:.2%}"
            f"  {record.train_seconds:.1f} + {record.test_seconds:.1f} s"
        )

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Write a line to standard error, if anyone still reads it."""
    with suppress(OSError):
        typer.echo(text, err=True)


def run_header(recipe: Recipe, network: nn.Module, device: torch.device, images: int) -> str:
    """Return the line that a run begins with: what trains, where, in which precision, how long."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    steps = recipe.epochs * math.ceil(images / recipe.batch_size)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return (
        f"{recipe.name}, seed {recipe.seed}: {parameters:,} parameters on {device}{threads}, "
        f"{recipe.precision}; {images:,} images, {recipe.epochs} epochs, {steps:,} steps of "
        f"{recipe.batch_size}"
    )


def run_report(result: RunResult, timers: dict[str, float]) -> str:
    """Return the two lines that a finished run ends with."""
    accuracy = f"single view {result.single_view_accuracy:.2%}"
    if result.accuracy_before_recalibration is not None:
        accuracy += f" ({result.accuracy_before_recalibration:.2%} before PreciseBN)"
    times = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in timers.items())
    return (
        f"seed {result.seed}: test accuracy {accuracy}, "
        f"test-time augmentation {result.six_view_accuracy:.2%}\n"
        f"{times}  train {result.train_seconds:.1f} s"
    )


def runs_report(results: Sequence[RunResult]) -> str:
    """Return mean and spread over several seeds."""
    rows = (
        ("single view, %", [100 * result.single_view_accuracy for result in results]),
        ("augmented, %", [100 * result.six_view_accuracy for result in results]),
        ("train, s", [result.train_seconds for result in results]),
    )
    return "\n".join(f"{name:<15}{_spread(statistics_of(values))}" for name, values in rows)


def _spread(figures: Statistics) -> str:
    return (
        f"n {figures.n}  mean {figures.mean:.2f}  std {figures.standard_deviation:.2f}"
        f"  s.e. {figures.standard_error:.2f}  {figures.smallest:.2f} to {figures.largest:.2f}"
    )
