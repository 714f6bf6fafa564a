"""`foldnorm runs`: what was trained, how far it came, how good it is, and what is left to do."""

from __future__ import annotations

import json
import statistics
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from models.history import EpochRecord, read_history
from models.records import RecordError
from training.errors import CheckpointError, RecipeError
from training.recipes import load_recipe
from training.trainer.run.run_directory import RunDirectory

RECENT = 5  # epochs whose median time is taken for those to come: an early one may be of less


def runs(
    folder: Annotated[
        Path, typer.Argument(help="A run's folder, or one that holds runs at any depth.")
    ] = Path("runs"),
) -> None:
    """List the runs in FOLDER: state, epochs, accuracy, and the time that is left to train."""
    found = sorted(path.parent for path in folder.rglob("recipe.toml"))
    if not found:
        raise CheckpointError(f"{folder} holds no runs; name a folder that does")
    numbers = ("seed", "last", "best (in)", "to go")
    columns = (Column(name, justify="right", no_wrap=True) for name in numbers)
    table = Table(Column("run", overflow="fold"), "state", *columns, pad_edge=False, box=SIMPLE)
    for path in found:
        table.add_row(*_row(path, path.name if path == folder else str(path.relative_to(folder))))
    Console().print(table)
    typer.echo("Test accuracies; the best epoch is selected on the same images, and so flatters.")


def _row(path: Path, name: str) -> tuple[str, ...]:
    """Return what a run's files say, without reading its checkpoint."""
    run = RunDirectory(path)
    try:
        recipe = load_recipe(str(run.recipe_file))
        history = read_history(run.history_file) if run.history_file.exists() else []
        state = _state(run, len(history))
    except (RecipeError, RecordError, OSError, ValueError, KeyError) as error:
        return (name, f"damaged: {error}")
    done, epochs = len(history), recipe.epochs
    named = name if recipe.name in name else f"{name} ({recipe.name})"
    cells = (named, f"{state} {done}/{epochs}", str(recipe.seed))
    if not history:
        return cells
    best = max(history, key=lambda record: record.test_accuracy)
    seconds = statistics.median(map(_seconds, history[-RECENT:]))
    left = timedelta(seconds=round(seconds * max(epochs - done, 0)))
    return (
        *cells,
        f"{history[-1].test_accuracy:.2%}",
        f"{best.test_accuracy:.2%} ({best.epoch})",
        str(left) if left and state not in ("diverged", "done") else "",
    )


def _seconds(record: EpochRecord) -> float:
    return record.train_seconds + record.test_seconds


def _state(run: RunDirectory, done: int) -> str:
    if run.is_locked:
        return "training"
    if run.result_file.exists() and json.loads(run.result_file.read_bytes())["epochs"] == done:
        return "done"  # and not gone on with since
    if run.divergence_file.exists():
        return "diverged"
    return "stopped" if run.holds_run else "nothing saved"
