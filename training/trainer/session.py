"""One call of `foldnorm train`: seeds trained one after the other, saved, stopped and resumed."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
import typer

from models.history import EpochRecord
from training.data.cifar10 import IMAGE_SHAPE, LABELS, load_cifar10
from training.data.device_split import RunData
from training.errors import CheckpointError, DivergedError, SaveError
from training.evaluation.environment import describe_environment
from training.recipes import Recipe
from training.trainer.console import ProgressReport, run_header, run_report
from training.trainer.distributed import Workers
from training.trainer.evaluate import RunResult
from training.trainer.loop import Observer, StoppedError, TrainingRun
from training.trainer.networks import check_fits
from training.trainer.run_directory import RunDirectory

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRIES, PAUSE_S = 12, 5.0  # of saving what would be lost otherwise


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
            if run.progress.epoch > self.recipe.epochs:
                raise CheckpointError(
                    f"the run in {directory.path} has {run.progress.epoch} epochs, more than the "
                    f"{self.recipe.epochs} asked for; ask for as many, or choose another --run-dir"
                )
            if self.workers.leads:
                directory.save(run)  # what a stop after the checkpoint left out
                further = "--set patience=0" if run.impatient else "--epochs"
                typer.echo(f"the run has its {run.progress.epoch} epochs; {further} goes further")
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
            if run.impatient:
                typer.echo(
                    f"stopped after {run.progress.epoch} epochs: none of the last "
                    f"{self.recipe.patience} was better on the held-out images"
                )
            if run.answers == 1:
                say(
                    "warning: the network gives every test image the same answer: it has learnt "
                    "nothing, or lost it; a lower learning rate is the usual remedy"
                )

    def _train_epochs(self, run: TrainingRun, data: RunData, directory: RunDirectory) -> None:
        leads, alone = self.workers.leads, self.workers.size == 1
        report = ProgressReport(self.recipe.epochs, self.recipe.batch_size, quiet=not leads)
        try:
            with report, interruptible(report, alone=alone) as observer:
                while not run.finished:
                    record = run.train_epoch(data.train, data.test, observer)
                    if leads:
                        self.keep(run, record, directory, report)
        except DivergedError as error:
            if leads:
                directory.record_divergence(run, error)
            raise
        except StoppedError:
            if leads:
                save_patiently(run, directory)
            self.workers.wait_for_all()  # torchrun ends the others with the first
            if leads:
                say(
                    f"stopped in epoch {run.progress.epoch + 1}, step {run.progress.step}; saved. "
                    "To go on, repeat the command with --resume "
                    f"(run folder {directory.path})"
                )
            raise typer.Exit(130) from None

    def keep(
        self,
        run: TrainingRun,
        record: EpochRecord,
        directory: RunDirectory,
        report: ProgressReport,
    ) -> None:
        """Save an epoch, then report it.

        Raises:
            SaveError: the run is over and cannot be saved, or an epoch that is saved cannot be
                reported.
        """
        if run.finished:
            save_patiently(run, directory)
        else:
            try:
                directory.save(run)
            except OSError as error:
                say(f"{not_saved(directory, error)}; going on, the next epoch is saved again")
        try:
            report.on_epoch(record)
            if self.tensorboard:
                write_tensorboard(record, directory.path)
        except OSError as error:
            raise SaveError(
                f"epoch {record.epoch} is saved in {directory.path} and cannot be reported "
                f"({error.strerror or error}); mend that, and go on with --resume"
            ) from error


def save_patiently(
    run: TrainingRun, directory: RunDirectory, tries: int = TRIES, pause_s: float = PAUSE_S
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


def say(text: str) -> None:
    """Write a line to standard error, if anyone still reads it."""
    with suppress(OSError):
        typer.echo(text, err=True)


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


def write_tensorboard(record: EpochRecord, folder: Path) -> None:
    """Append the epoch's figures to TensorBoard's events, as `loss/train`, `accuracy/test`, …."""
    from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import

    # An epoch that is trained again, after a stop before its checkpoint, replaces itself.
    with SummaryWriter(str(folder / "tensorboard"), purge_step=record.epoch) as writer:
        for name, value in record.to_dict().items():
            split, _, measure = name.partition("_")
            if split in ("train", "test"):
                writer.add_scalar(f"{measure}/{split}", value, record.epoch)
        writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
