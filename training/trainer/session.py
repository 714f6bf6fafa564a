"""One call of `foldnorm train`: seeds trained one after the other, saved, stopped and resumed."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
import typer

from models.history import EpochRecord
from training.data.cifar10 import IMAGE_SHAPE, LABELS, load_cifar10
from training.data.device_split import RunData
from training.errors import DivergedError
from training.evaluation.environment import describe_environment
from training.recipes import Recipe
from training.trainer.console import ProgressReport, run_header, run_report
from training.trainer.distributed import Workers
from training.trainer.evaluate import RunResult
from training.trainer.loop import TrainingRun
from training.trainer.networks import check_fits
from training.trainer.run_directory import RunDirectory


@dataclass(frozen=True)
class TrainingSession:
    """One call of `train`: what all its runs have in common."""

    recipe: Recipe
    device: torch.device
    precision: torch.dtype
    workers: Workers
    compiled: bool
    resume: bool
    tensorboard: bool

    def train_seeds(self, seeds: range, data_dir: Path, run_dir: Path | None) -> list[RunResult]:
        """Train each seed in its folder; a finished run is not trained again.

        Raises:
            RecipeError: the recipe does not fit the dataset.
            CheckpointError: a folder holds another run, or none to resume.
            DataError: the dataset is not there.
        """
        check_fits(self.recipe, IMAGE_SHAPE, LABELS)
        folders = {
            seed: RunDirectory(run_dir or Path("runs") / f"{self.recipe.name}-seed{seed}")
            for seed in seeds
        }
        # Of several runs those that were not begun yet start now.
        resumes = {
            seed: self.resume and (len(seeds) == 1 or folder.holds_run)
            for seed, folder in folders.items()
        }
        for seed, folder in folders.items():
            folder.check(resume=resumes[seed])
        timers = Timers(self.device)
        with timers.measure("build"):
            splits = load_cifar10(data_dir)
        with timers.measure("prepare"):
            data = RunData.place(splits, self.recipe.data, self.device)
        results = []
        for seed, folder in folders.items():
            with timers.measure("build"):
                run = TrainingRun(
                    self.recipe,
                    seed,
                    self.device,
                    precision=self.precision,
                    workers=self.workers,
                    compiled=self.compiled,
                )
            with folder.locked() if self.workers.leads else nullcontext():
                folder.open(run, resume=resumes[seed])
                self._train_run(run, data, folder, timers)
            if run.result:
                results.append(run.result)
        return results

    def _train_run(
        self, run: TrainingRun, data: RunData, directory: RunDirectory, timers: Timers
    ) -> None:
        if run.finished:
            if self.workers.leads:
                directory.save(run)  # what a stop after the checkpoint left out
            typer.echo(f"the run has its {self.recipe.epochs} epochs; --epochs trains it further")
            return
        with timers.measure("prepare"):
            run.prepare(data.train, data.test, data.held_out)
        if self.workers.leads:
            precision = str(self.precision).removeprefix("torch.")
            used = replace(self.recipe, seed=run.seed, precision=precision)  # type: ignore[arg-type]
            directory.describe(used)
            typer.echo(run_header(used, run.network, run.device, len(data.train.labels)))
        run.sessions.append(
            {
                "first_epoch": run.progress.epoch + 1,
                "precision": str(self.precision).removeprefix("torch."),
                "processes": self.workers.size,
                "compiled": self.compiled,
                **describe_environment(self.device),
            }
        )
        self._train_epochs(run, data, directory)
        if self.workers.leads and run.result:
            typer.echo(run_report(run.result, timers.seconds))

    def _train_epochs(self, run: TrainingRun, data: RunData, directory: RunDirectory) -> None:
        leads = self.workers.leads
        report = ProgressReport(self.recipe.epochs, self.recipe.batch_size, quiet=not leads)
        with report, interruptible(report) as observer:
            try:
                while not run.finished:
                    record = run.train_epoch(data.train, data.test, observer)
                    if leads:
                        directory.save(run)
                    if leads and self.tensorboard:
                        write_tensorboard(record, directory.path)
            except DivergedError as error:
                if leads:
                    directory.record_divergence(run, error)
                raise
            except KeyboardInterrupt:
                if leads:
                    directory.save(run)
                typer.echo(
                    f"stopped in epoch {run.progress.epoch + 1}, step {run.progress.step}; saved. "
                    "To go on, repeat the command with --resume "
                    f"(run folder {directory.path})",
                    err=True,
                )
                raise typer.Exit(130) from None


@dataclass
class Timers:
    """Seconds by name, on a monotonic clock, as the speed records count them.

    build     import, construct and read: what does not depend on the run
    prepare   place the data, compute the whitening: charged, since every run needs it
    train     steps, averaging, PreciseBN: charged, and timed by the loop itself; tests are not
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: Literal["build", "prepare"]) -> Iterator[None]:
        """Add the time inside; the device's queue is waited for at both ends."""
        self._synchronize()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._synchronize()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _StopAtStep:
    """An observer that passes everything on, and stops the run at a step once asked to."""

    def __init__(self, report: ProgressReport) -> None:
        self.report = report
        self.stop = False

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        self.report.on_step(epoch, step, steps, loss)
        if self.stop and step < steps:
            raise KeyboardInterrupt

    def on_epoch(self, record: EpochRecord) -> None:
        self.report.on_epoch(record)


@contextmanager
def interruptible(report: ProgressReport) -> Iterator[_StopAtStep]:
    """Turn Ctrl-C and SIGTERM into a stop between two steps.

    A second one stops at once, and saves nothing: amid a step the weights fit no step's number.
    """
    observer = _StopAtStep(report)

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        if observer.stop:
            typer.echo("stopped at once; the last checkpoint is kept", err=True)
            raise typer.Exit(130)
        observer.stop = True

    previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield observer
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def write_tensorboard(record: EpochRecord, folder: Path) -> None:
    """Append the epoch's figures to TensorBoard's event file."""
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, value in record.to_dict().items():
            if name != "epoch":
                writer.add_scalar(name.replace("_", "/", 1), value, record.epoch)
