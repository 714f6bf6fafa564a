"""Seconds of training until the whole test set is classified to a given accuracy.

This project's recipe is cut to a few epochs, over which its schedules run to their end; the
tutorial's loop goes on at its constant learning rate until it is there. Tests are outside the time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.training_bench.cell import CPU, ROOT, Quiet
from benchmarks.training_bench.tutorial import TutorialLoop
from training.data.cifar10 import Split, load_cifar10
from training.data.device_split import DeviceSplit
from training.recipes import load_recipe
from training.trainer.device import choose_precision, keep_freed_memory
from training.trainer.loop import TrainingRun

TUTORIAL_BATCH = 128
MOST_EPOCHS = 12


NETWORK = "air-tiny"
OUR_EPOCHS = 3
TARGET = 0.8
LOOPS = ("ours", "tutorial")


@dataclass(frozen=True)
class WayToAccuracy:
    """The test accuracy after each epoch, and the seconds of training until then.

    `reached_after` is the first of the seconds whose test met the target; None: never.
    """

    loop: str
    seed: int
    accuracies: list[float]
    seconds: list[float]
    reached_after: float | None


def in_new_process(loop: str, seed: int, data_dir: Path) -> WayToAccuracy:
    """Train by one of the loops."""
    command = [sys.executable, "-m", "benchmarks.training_bench.accuracy", loop, str(seed)]
    answer = subprocess.run(
        [*command, f"--data-dir={data_dir.absolute()}"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    steps = json.loads(answer.stdout)
    reached = next((seconds for accuracy, seconds in steps if accuracy >= TARGET), None)
    accuracies, seconds = ([step[i] for step in steps] for i in (0, 1))
    return WayToAccuracy(loop, seed, accuracies, seconds, reached)


def main() -> None:
    """Train as asked on the command line, and print accuracy and seconds of each epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    train = ours if given.loop == "ours" else tutorial
    print(json.dumps(train(given.seed, *load_cifar10(given.data_dir))))  # noqa: T201


def ours(seed: int, train: Split, test: Split) -> list[tuple[float, float]]:
    """Train the recipe, cut to a few epochs."""
    keep_freed_memory()
    recipe = dataclasses.replace(load_recipe(NETWORK), epochs=OUR_EPOCHS)
    run = TrainingRun(recipe, seed, CPU, precision=choose_precision(None, recipe, CPU))
    placed, placed_test = DeviceSplit.place(train, CPU), DeviceSplit.place(test, CPU)
    started = time.perf_counter()
    run.prepare(placed, placed_test)
    seconds, steps = time.perf_counter() - started, []
    while not run.finished:
        record = run.train_epoch(placed, placed_test, Quiet())
        seconds += record.train_seconds
        steps.append((record.test_accuracy, round(seconds, 2)))
    return steps


def tutorial(seed: int, train: Split, test: Split) -> list[tuple[float, float]]:
    """Train by the tutorial's loop until the target is met, or for `MOST_EPOCHS`."""
    torch.manual_seed(seed)
    recipe = dataclasses.replace(load_recipe(NETWORK), seed=seed)
    loop = TutorialLoop(recipe, train, TUTORIAL_BATCH, loader_workers=2)
    seconds, steps = 0.0, []
    for _ in range(MOST_EPOCHS):
        started = time.perf_counter()
        for _ in loop.epoch():
            pass
        seconds += time.perf_counter() - started
        steps.append((loop.accuracy(test), round(seconds, 2)))
        if steps[-1][0] >= TARGET:
            break
    return steps


if __name__ == "__main__":
    main()
