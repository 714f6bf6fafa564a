"""What an epoch of the Keras pair costs, side by side, and what the probes add to it.

    python -m benchmarks.lab --data-dir data --output benchmarks/results/lab.json

Baseline and BN model, in float32 and bfloat16, take turns of some steps each, many rounds long; the
seconds of an epoch are 1,563 times the median step. Then each probe measures a few times on both
networks: its seconds, and its share of the training that the study `inside` (4 epochs, 22 points)
or an epoch (for PreciseBN and the statistics) has.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from training.client.load.machine import processor_name
from training.data.cifar10 import load_cifar10
from training.data.device_split import DeviceSplit
from training.recipes import load_recipe, patched
from training.trainer.device import keep_freed_memory
from training.trainer.loop import TrainingRun
from training.trainer.probes.accuracy import AccuracyProbe
from training.trainer.probes.landscape import LandscapeProbe
from training.trainer.probes.layers import LayerProbe
from training.trainer.probes.probe import Bench, Probe, own_draws
from training.trainer.probes.probing import is_due
from training.trainer.probes.statistics import StatisticsProbe

CPU = torch.device("cpu")
NETWORKS = ("keras-baseline", "keras-bn")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STEPS_PER_EPOCH, STEPS_A_TURN, BATCH = 1_563, 20, 32
INSIDE_STEPS = 4 * STEPS_PER_EPOCH


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    train, test = (DeviceSplit.place(split, CPU) for split in load_cifar10(given.data_dir))
    epochs = epoch_seconds(train, test, given.rounds)
    result = {
        "machine": processor_name(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "threads": given.threads,
        "rounds": given.rounds,
        "epoch_seconds": epochs,
        "probes": probe_costs(train, test, max(3, given.rounds // 5), epochs),
    }
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


def epoch_seconds(
    train: DeviceSplit, test: DeviceSplit, rounds: int
) -> dict[str, dict[str, float]]:
    """Return the seconds of an epoch's steps: median, quartiles, ratio to the baseline's."""
    runs = {
        f"{name} {precision}": TrainingRun(load_recipe(name), 0, CPU, precision=kind)
        for name in NETWORKS
        for precision, kind in PRECISIONS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run.prepare(train, test)
        take_steps(run, train, 5)
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            take_steps(run, train, STEPS_A_TURN)
            elapsed = time.perf_counter() - started
            seconds[name].append(elapsed / STEPS_A_TURN * STEPS_PER_EPOCH)
    return {
        name: spread(values, seconds[f"{NETWORKS[0]} float32"]) for name, values in seconds.items()
    }


def take_steps(run: TrainingRun, train: DeviceSplit, count: int) -> None:
    """Take some training steps, augmentation included, as the loop does."""
    run.network.train()
    augmentation = run.draws.begin(train, run.progress)
    for indices in torch.randperm(len(train.labels))[: count * BATCH].split(BATCH):
        run.step(augmentation.batch(indices), train.labels[indices])


def spread(values: list[float], against: list[float]) -> dict[str, float]:
    """Return median, quartiles, and the median of the ratios turn by turn."""
    low, middle, high = statistics.quantiles(values, n=4)
    ratio = statistics.median(a / b for a, b in zip(values, against, strict=True))
    figures = {"median": middle, "low": low, "high": high, "ratio": ratio}
    return {name: round(value, 3) for name, value in figures.items()}


def probe_costs(
    train: DeviceSplit, test: DeviceSplit, rounds: int, epochs: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Return each probe's seconds a time, and its share of the training beside it, in per cent."""
    points = sum(is_due(step, load_recipe("keras-bn").probes) for step in range(INSIDE_STEPS))
    costs = {}
    for name in NETWORKS:
        recipe = patched(load_recipe(name), {"probes": {"precise_bn": 2_000}, "epochs": 1}, name)
        run = TrainingRun(recipe, 0, CPU)
        bench, off = Bench(recipe, train, test), torch.autocast("cpu", enabled=False)
        probes: dict[str, tuple[Callable[[], Probe], float]] = {
            "layers": (partial(LayerProbe, bench), points / 4),
            "landscape": (partial(LandscapeProbe, bench), points / 4),
        }
        if name == "keras-bn":
            probes["precise_bn"] = (partial(AccuracyProbe, bench, off), 1)
            probes["statistics"] = (partial(StatisticsProbe, bench, run.network, off), 1)
        for probe_name, (build, times_an_epoch) in probes.items():
            taken = [once(build(), run) for _ in range(rounds)]
            seconds = statistics.median(taken)
            epoch = epochs[f"{name} float32"]["median"]
            costs[f"{probe_name}, {name}"] = {
                "seconds": round(seconds, 2),
                "times_an_epoch": times_an_epoch,
                "per_cent_of_training": round(100 * seconds * times_an_epoch / epoch, 1),
            }
    return costs


def once(probe: Probe, run: TrainingRun) -> float:
    """Return the seconds of one measurement."""
    started = time.perf_counter()
    with own_draws(CPU):
        probe.before_step(run.network)
        list(probe.after_due_step(run.network))
        list(probe.after_epoch(run.network))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
