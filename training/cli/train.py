"""`foldnorm train`: train a recipe, or go on with a run that was stopped."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer

from training.data import load_cifar10
from training.environment import describe_environment
from training.errors import TrainingError
from training.loop import DeviceSplit, TrainingRun
from training.progress import ProgressReport
from training.recipe import load_recipe
from training.rundir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from models.history import EpochRecord


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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default all.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")
    ] = False,
) -> None:
    """Train RECIPE, measuring the test set after every epoch."""
    recipe = load_recipe(recipe_name)
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    seed = recipe.seed if seed is None else seed
    if threads:
        torch.set_num_threads(threads)
    target = choose_device(device)
    directory = RunDirectory(run_dir or Path("runs") / f"{recipe.name}-seed{seed}")
    run = TrainingRun(recipe, seed, target)
    directory.open(run, resume=resume)
    train_split, test_split = (DeviceSplit.place(s, target) for s in load_cifar10(data_dir))
    run.sessions.append({"first_epoch": run.progress.epoch + 1, **describe_environment(target)})
    if run.progress.epoch >= recipe.epochs:
        typer.echo(f"the run has its {recipe.epochs} epochs; --epochs trains it further")
        return
    report = ProgressReport(recipe.epochs, recipe.batch_size)
    with report, interruptible(report) as observer:
        try:
            while run.progress.epoch < recipe.epochs:
                record = run.train_epoch(train_split, test_split, observer)
                directory.save(run)
                if tensorboard:
                    write_tensorboard(record, directory.path)
        except KeyboardInterrupt:
            directory.save(run)
            typer.echo(
                f"stopped in epoch {run.progress.epoch + 1}, step {run.progress.step}; saved. "
                f"To go on, repeat the command with --resume (run folder {directory.path})",
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
