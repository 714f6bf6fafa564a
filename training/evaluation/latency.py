"""How long a graph alone takes in onnxruntime, folded and unfolded measured in turns.

Both extremes of onnxruntime's optimization are measured: at `enable_all` it folds convolutions and
batch norms by itself while loading, so part of what our fold saves is hidden there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from models.manifest import Latency, Variant
from training.evaluation.onnx_runner import GraphRunner, Optimization

LEVELS: tuple[Optimization, ...] = ("disable_all", "enable_all")
ROUNDS = 30
MIN_ROUNDS = 3
SECONDS = 60.0  # of the measurement, of a large network in fewer rounds
IMAGES_PER_ROUND = 64
LARGE_BATCH, LARGE_BATCH_OF_PHOTOS = 64, 8
SMALL_PIXELS = 64 * 64  # of an image; of larger ones 64 at once would take gigabytes


def measure_latency(
    graphs: Mapping[Variant, bytes], rounds: int | None = None
) -> dict[Variant, tuple[Latency, ...]]:
    """Return each graph's run times on one thread, from interleaved rounds.

    Every round runs each graph, level and batch size in turn, so that a slow moment of the machine
    falls on all of them. None takes 30 rounds, or as many as a minute holds. Batches are of one
    image and of 64, or of 8 where images are large.
    """
    runners = {
        (variant, level): GraphRunner(graphs[variant], level, threads=1)
        for variant, level in product(graphs, LEVELS)
    }
    image_shape = next(iter(runners.values())).image_shape
    small = image_shape[0] * image_shape[1] <= SMALL_PIXELS
    batch_sizes = (1, LARGE_BATCH if small else LARGE_BATCH_OF_PHOTOS)
    images = np.random.default_rng(0).integers(
        0, 256, (max(batch_sizes), *image_shape), np.uint8
    )  # (N, H, W, C)
    times: dict[tuple[Variant, Optimization, int], list[float]] = {
        (variant, level, size): [] for (variant, level), size in product(runners, batch_sizes)
    }
    rounds = rounds or _affordable_rounds(list(runners.values()), images[:1], len(batch_sizes))
    for round_number in range(rounds + 1):
        for (variant, level, size), samples in times.items():
            elapsed = _run(runners[variant, level], images[:size], IMAGES_PER_ROUND // size)
            if round_number:  # the first warms up
                samples += elapsed
    return {
        variant: tuple(
            _summary(level, size, times[variant, level, size])
            for level, size in product(LEVELS, batch_sizes)
        )
        for variant in graphs
    }


def _affordable_rounds(runners: Sequence[GraphRunner], image: np.ndarray, sizes: int) -> int:
    """Return how many rounds a minute holds, by what the graphs take for one image."""
    started = time.perf_counter()
    for runner in runners:
        runner.run(image)
    a_round = (time.perf_counter() - started) * sizes * IMAGES_PER_ROUND
    return int(min(ROUNDS, max(MIN_ROUNDS, SECONDS / a_round)))


def _run(runner: GraphRunner, images: np.ndarray, repeats: int) -> list[float]:
    """Return the milliseconds of each of several runs."""
    samples = []
    for _ in range(repeats):
        started = time.perf_counter()
        runner.run(images)
        samples.append((time.perf_counter() - started) * 1e3)
    return samples


def _summary(level: Optimization, size: int, samples: list[float]) -> Latency:
    p10, median, p90 = np.percentile(samples, [10, 50, 90])
    return Latency(
        optimization=level,
        batch_size=size,
        threads=1,
        runs=len(samples),
        median_ms=round(float(median), 4),
        p10_ms=round(float(p10), 4),
        p90_ms=round(float(p90), 4),
    )
