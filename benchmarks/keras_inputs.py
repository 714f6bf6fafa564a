"""What Keras and Foldnorm both start from when they are compared, and which numbers are kept.

The networks have 1.25 million parameters: too many to commit, so both sides draw them. The draws
are bits of PCG64, whose stream numpy guarantees, and hold in float32: they are the same in float64.

Everything is in Keras' layout: images (N, 32, 32, 3), kernels of convolutions (rows, columns, in,
out), those of dense layers (in, out); the first of these reads rows, columns, channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "fixtures" / "cifar10-test-100.npz"
ARRAYS = ROOT / "tests" / "golden" / "keras-reference.npz"
PROVENANCE = ARRAYS.with_suffix(".json")

SEED = 7
BATCH_SIZE = 16  # as the last one of an epoch of 50,000 by 32
STEPS = 3
LEARNING_RATES = {"baseline": 1e-4, "twin": 1e-3}  # those of the two recipes
DECAY = 0.1  # a recipe's 1e-6 would not show in three steps
PROBES = 32  # numbers kept of each variable

KERNELS = {
    "conv1": (3, 3, 3, 32),
    "conv2": (3, 3, 32, 32),
    "conv3": (3, 3, 32, 64),
    "conv4": (3, 3, 64, 64),
    "dense1": (2304, 512),
    "dense2": (512, 10),
}
# Of each batch norm: far from fresh ones, gammas of both signs, variances down to epsilon's size.
STATISTICS = {
    "gamma": (-0.5, 1.7),
    "beta": (-0.5, 0.5),
    "moving_mean": (-0.5, 0.5),
    "moving_variance": (0.002, 1.5),
}

# Logits of three classes and the true one: far below, around and far above the clip of the loss.
CLIP_LOGITS = [[9.0, 0, 1], [0.5, 0.2, 0.1], [17.5, 0, 1], [15.9, 0, 0], [18.0, 0, 0]]
CLIP_LABELS = [1, 0, 1, 1, 0]
RATE_STEPS = [0, 1, 1562, 78_149, 156_299]  # the last of 1, 50 and 100 epochs of 1,563 steps
# Rows and columns that the content moves up and left, and whether it is mirrored.
SHIFTS = [(0.5, -2.25, False), (-3.2, 2.71, True), (1.0, 0.03, True)]

Weights = dict[str, NDArray[np.float32]]


def draw_weights(batch_norm: bool) -> Weights:
    """Return the weights by `layer.variable`; those of the layers are the same with batch norm."""
    weights: Weights = {}
    for index, (layer, shape) in enumerate(KERNELS.items()):
        fan_in, fan_out = fans(shape)
        limit = math.sqrt(6 / (fan_in + fan_out))
        stream = np.random.PCG64(np.random.SeedSequence([SEED, index]))
        channels = shape[-1]
        weights[f"{layer}.kernel"] = _uniform(stream, -limit, limit, shape)
        weights[f"{layer}.bias"] = _uniform(stream, -0.1, 0.1, (channels,))
        if batch_norm:
            for name, (low, high) in STATISTICS.items():
                weights[f"{layer}_bn.{name}"] = _uniform(stream, low, high, (channels,))
    return weights


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many numbers one output of a kernel of that shape reads, and one input reaches."""
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def batches(dtype: DTypeLike) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Yield images (16, 32, 32, 3) in [0, 1] and labels (16,), one batch a step."""
    with np.load(SAMPLE) as sample:
        images, labels = sample["images"], sample["labels"]
    scaled = (images.astype(np.float32) / 255).astype(dtype)
    for start in range(0, STEPS * BATCH_SIZE, BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        yield scaled[part], labels[part]


def probes(values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return up to 32 numbers of each array, evenly spread; the arrays in the order of names."""
    return np.concatenate([_spread(values[name].reshape(-1)) for name in sorted(values)])


def sums(values: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the sum and the Euclidean norm of each array, (arrays, 2), in the order of names."""
    wide = [values[name].astype(np.float64) for name in sorted(values)]
    return np.array([(each.sum(), np.sqrt(np.square(each).sum())) for each in wide])


def _spread(flat: NDArray[Any]) -> NDArray[Any]:
    count = min(PROBES, flat.size)
    kept: NDArray[Any] = flat[np.linspace(0, flat.size - 1, count).astype(int)]
    return kept


def _uniform(
    stream: np.random.PCG64, low: float, high: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    bits = stream.random_raw(math.prod(shape))
    share = (bits >> np.uint64(40)) * 2.0**-24  # 24 bits: all that float32 holds
    return (low + (high - low) * share).astype(np.float32).reshape(shape)
