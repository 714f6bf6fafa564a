"""One process of a stage of `benchmarks.gpu`: trains seed after seed until its time is over."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.data.cifar10 import load_cifar10
from training.data.device_split import RunData
from training.errors import DivergedError
from training.evaluation.environment import describe_environment
from training.recipes import Recipe, load_recipe, patched
from training.trainer.device import choose_device, choose_precision, keep_freed_memory
from training.trainer.loop import StoppedError, TrainingRun

TINY = {"epochs": 2, "batch_size": 20, "data": {"images": 100, "test_images": 50}}


class Clock:
    """Stops a run when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether it is."""
        return time.monotonic() >= self.until

    def on_step(self, _epoch: int, _step: int, _steps: int, _loss: float) -> bool:
        """Stop a run at the end of the time."""
        return self.over


def main() -> None:
    """Train and write lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--first-seed", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seeds", type=int, help="of this process; default: till the end")
    parser.add_argument("--device", required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    clock, device = Clock(given.seconds), choose_device(given.device)
    keep_freed_memory()
    recipes = [recipe_of(name, tiny=given.tiny) for name in given.recipes.split(",")]
    data = RunData.place(load_cifar10(given.data_dir), recipes[0].data, device)
    with given.lines.open("a", encoding="utf-8") as file:
        for line in lines(recipes, given, data, device, clock):
            file.write(json.dumps(line) + "\n")
            file.flush()


def recipe_of(name: str, *, tiny: bool) -> Recipe:
    """Return a recipe, or what is left of it for a try."""
    recipe = load_recipe(name)
    if not tiny:
        return recipe
    recipe = patched(recipe, TINY, "--tiny")
    options = recipe.network.options
    widths = {"widths": (8, 8, 8)} if "widths" in options else {}
    return replace(recipe, network=replace(recipe.network, options={**options, **widths}))


def lines(
    recipes: list[Recipe],
    given: argparse.Namespace,
    data: RunData,
    device: torch.device,
    clock: Clock,
) -> Iterator[dict[str, Any]]:
    """Yield what became of each run, the recipes in turns."""
    seeds = itertools.count(given.first_seed, given.step)
    for seed in itertools.islice(seeds, given.seeds):
        for recipe in recipes:
            line = train(recipe, seed, data, device, clock, compiled=given.compile)
            yield {**line, "processes": given.step}
            if clock.over:
                return


def train(
    recipe: Recipe,
    seed: int,
    data: RunData,
    device: torch.device,
    clock: Clock,
    *,
    compiled: bool,
) -> dict[str, Any]:
    """Train one run to its end, or to the end of the time."""
    precision = choose_precision(None, recipe, device)
    run = TrainingRun(recipe, seed, device, precision=precision, compiled=compiled)
    run.prepare(data.train, data.test)
    ended = ""
    try:
        while not run.finished:
            run.train_epoch(data.train, data.test, clock)
    except StoppedError:
        ended = f"the time was over in epoch {run.progress.epoch + 1}"
    except DivergedError as error:
        ended = str(error)
    result = run.result
    return {
        "recipe": recipe.name,
        "seed": seed,
        "epochs": recipe.epochs,
        "precision": str(precision).removeprefix("torch."),
        "compiled": compiled,
        "captured": run.captures,
        "finished": result is not None,
        "ended": ended,
        "accuracies": [record.test_accuracy for record in run.history],
        "seconds": [record.train_seconds for record in run.history],
        "test_seconds": [record.test_seconds for record in run.history],
        "single_view": result and result.single_view_accuracy,
        "six_views": result and result.six_view_accuracy,
        "train_seconds": result and result.train_seconds,
        **describe_environment(device),
    }


if __name__ == "__main__":
    main()
