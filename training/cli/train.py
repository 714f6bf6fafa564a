"""`foldnorm train`: train a recipe, or go on with a run that was stopped."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import torch
import typer

from models.history import EpochRecord
from training.data.cifar10 import load_cifar10
from training.errors import TrainingError
from training.evaluation.environment import describe_environment
from training.recipes.recipe import Recipe, load_recipe
from training.trainer.console import ProgressReport, run_report, runs_report
from training.trainer.device import choose_precision, keep_freed_memory
from training.trainer.distributed import Workers
from training.trainer.loop import DeviceSplit, TrainingRun
from training.trainer.result import Outcome
from training.trainer.run_directory import RunDirectory
from training.trainer.timers import PhaseClock


def train(
    recipe_name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe that ships, or a .toml file.")
    ],
    data_dir: Annotated[Path, typer.Option(help="Folder that holds cifar-10-batches-py/.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run lives; by default runs/RECIPE-seedSEED.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    runs: Annotated[
        int, typer.Option(min=1, help="Train that many seeds, one after the other, from --seed on.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or auto, instead of the recipe's.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Generate kernels first: for many runs on a GPU.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default all.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")
    ] = False,
) -> None:
    """Train RECIPE, measuring the test set after every epoch.

    Under torchrun, all processes train one network together.
    """
    recipe = load_recipe(recipe_name)
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    first = recipe.seed if seed is None else seed
    if runs > 1 and run_dir:
        raise typer.BadParameter("--run-dir holds one run; with --runs each has its own folder")
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    with Workers.from_environment() as workers:
        target = workers.local_device(choose_device(device))
        session = TrainingSession(
            recipe,
            target,
            choose_precision(precision, recipe, target),
            workers,
            compiled=compiled,
            resume=resume,
            tensorboard=tensorboard,
        )
        outcomes = session.train_seeds(range(first, first + runs), data_dir, run_dir)
    if workers.leads and runs > 1 and len(outcomes) == runs:
        typer.echo(runs_report(outcomes))


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

    def train_seeds(self, seeds: range, data_dir: Path, run_dir: Path | None) -> list[Outcome]:
        """Train each seed in its folder; a finished run is not trained again."""
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
        clock = PhaseClock(self.device)
        with clock.phase("build"):
            splits = load_cifar10(data_dir)
        with clock.phase("prepare"):
            train, test = (DeviceSplit.place(split, self.device) for split in splits)
        outcomes = []
        for seed, folder in folders.items():
            with clock.phase("build"):
                run = self._new_run(seed)
            folder.open(run, resume=resumes[seed])
            self._train_run(run, train, test, folder, clock)
            if run.outcome:
                outcomes.append(run.outcome)
        return outcomes

    def _new_run(self, seed: int) -> TrainingRun:
        return TrainingRun(
            self.recipe,
            seed,
            self.device,
            precision=self.precision,
            workers=self.workers,
            compiled=self.compiled,
        )

    def _train_run(
        self,
        run: TrainingRun,
        train: DeviceSplit,
        test: DeviceSplit,
        directory: RunDirectory,
        clock: PhaseClock,
    ) -> None:
        if run.finished:
            typer.echo(f"the run has its {self.recipe.epochs} epochs; --epochs trains it further")
            return
        with clock.phase("prepare"):
            run.prepare(train)
        run.sessions.append(
            {
                "first_epoch": run.progress.epoch + 1,
                "precision": str(self.precision).removeprefix("torch."),
                "processes": self.workers.size,
                "compiled": self.compiled,
                **describe_environment(self.device),
            }
        )
        self._train_epochs(run, train, test, directory)
        if self.workers.leads and run.outcome:
            typer.echo(run_report(run.outcome, clock.seconds))

    def _train_epochs(
        self, run: TrainingRun, train: DeviceSplit, test: DeviceSplit, directory: RunDirectory
    ) -> None:
        leads = self.workers.leads
        report = ProgressReport(self.recipe.epochs, self.recipe.batch_size, quiet=not leads)
        with report, interruptible(report) as observer:
            try:
                while not run.finished:
                    record = run.train_epoch(train, test, observer)
                    if leads:
                        directory.save(run)
                    if leads and self.tensorboard:
                        write_tensorboard(record, directory.path)
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


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one.

    Raises:
        TrainingError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the meta device fails only when it is read
    except (RuntimeError, AssertionError) as exc:
        reason = str(exc).splitlines()[0]
        raise TrainingError(f"device {name!r} cannot be used ({reason}); try --device cpu") from exc
    return device


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
