"""Images a second of one system with one network, in a process of its own.

Both loops get the same few thousand images, over and over, and the recipe's batch size; what they
do before the first step that counts, and any test, is outside the time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.training_bench.systems import SYSTEMS
from benchmarks.training_bench.tutorial import TutorialLoop
from training.data.cifar10 import Split, load_cifar10
from training.data.device_split import DeviceSplit
from training.recipes.recipe import ResolutionStage, load_recipe
from training.trainer.device import choose_precision, keep_freed_memory
from training.trainer.loop import TrainingRun

if TYPE_CHECKING:
    from benchmarks.training_bench.systems import System
    from training.recipes import Recipe

ROOT = Path(__file__).resolve().parents[2]
SEVERAL_STEPS = 2
FEWEST_IMAGES = 2_000
TEST_IMAGES = 100
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement."""

    network: str
    system: str
    round: int
    images_per_s: float
    images: int
    seconds: float


def in_new_process(
    system: System, network: str, round_number: int, seconds: float, data_dir: Path
) -> Cell:
    """Measure one system with one network."""
    command = [sys.executable, "-m", "benchmarks.training_bench.cell", system.name, network]
    options = [f"--seconds={seconds}", f"--data-dir={data_dir.absolute()}"]
    answer = subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found = json.loads(answer.stdout)
    return Cell(network, system.name, round_number, **found)


def main() -> None:
    """Measure as asked on the command line, and print the result as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system")
    parser.add_argument("network")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    system = next(one for one in SYSTEMS if one.name == given.system)
    recipe = load_recipe(given.network)
    train, test = some_images(recipe.batch_size, given.data_dir)
    if system.loop == "tutorial":
        images, seconds = measure_tutorial(recipe, system, train, given.seconds)
    else:
        images, seconds = measure_ours(recipe, system, train, test, given.seconds)
    found = {"images_per_s": round(images / seconds, 1), "images": images}
    print(json.dumps(found | {"seconds": round(seconds, 3)}))  # noqa: T201 - the answer


def some_images(batch_size: int, data_dir: Path) -> tuple[Split, Split]:
    """Return a few whole batches of real training images, and a few test images."""
    train, test = load_cifar10(data_dir)
    count = batch_size * max(SEVERAL_STEPS, -(-FEWEST_IMAGES // batch_size))
    return (
        Split(train.images[:count], train.labels[:count]),
        Split(test.images[:TEST_IMAGES], test.labels[:TEST_IMAGES]),
    )


def measure_tutorial(
    recipe: Recipe, system: System, train: Split, at_least: float
) -> tuple[int, float]:
    """Return images and seconds of the tutorial's loop, from its second step on.

    So that its loader starts once and not once a pass, the images are repeated in one long epoch.
    """
    long = Split(train.images.repeat(20, axis=0), train.labels.repeat(20))
    loop = TutorialLoop(recipe, long, recipe.batch_size, system.loader_workers)
    images, started = 0, 0.0
    for step, taken in enumerate(loop.epoch()):
        if step == 0:
            started = time.perf_counter()
            continue
        images += taken
        if time.perf_counter() - started > at_least:
            break
    return images, time.perf_counter() - started


class Quiet:
    """An observer that needs no reports."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Take no note."""


def measure_ours(
    recipe: Recipe, system: System, train: Split, test: Split, at_least: float
) -> tuple[int, float]:
    """Return images and seconds of this project's loop, from its second short epoch on."""
    keep_freed_memory()
    side = (ResolutionStage(system.side, 1.0),) if recipe.curriculum else ()
    recipe = dataclasses.replace(recipe, epochs=10_000, curriculum=side)
    run = TrainingRun(
        recipe, recipe.seed, CPU, precision=choose_precision(system.precision, recipe, CPU)
    )
    placed, placed_test = DeviceSplit.place(train, CPU), DeviceSplit.place(test, CPU)
    run.prepare(placed, placed_test)
    run.train_epoch(placed, placed_test, Quiet())
    images, seconds = 0, 0.0
    while seconds <= at_least:
        seconds += run.train_epoch(placed, placed_test, Quiet()).train_seconds
        images += len(train.labels)
    return images, seconds


if __name__ == "__main__":
    main()
