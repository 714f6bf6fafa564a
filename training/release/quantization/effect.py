"""What quantization changed: an int8 graph against its float32 graph on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.manifest import QuantizationEffect
from training.data.cifar10 import Split
from training.data.labelled_images import LabelledImages
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner

MAX_LOSS_POINTS = 0.3  # of test accuracy: an int8 graph that loses more is not released


def measure_effect(
    source: bytes, quantized: bytes, test: Split | LabelledImages, artifact: Bundle
) -> QuantizationEffect:
    """Run both graphs on a test set, the int8 one on integer kernels and emulated in float32."""
    runners = [
        GraphRunner(source),
        GraphRunner(quantized),
        GraphRunner(quantized, "disable_all"),
    ]
    own = test if isinstance(test, LabelledImages) else None
    chunks = [test] if isinstance(test, Split) else test.chunks(artifact.manifest.input)
    parts = [
        (*(runner.logits(chunk.images) for runner in runners), chunk.labels) for chunk in chunks
    ]
    float32, int8, emulated, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    effect = compare_logits(float32, int8, emulated, labels, artifact.manifest.labels)
    if own is None:
        return effect
    return replace(effect, test=replace(effect.test, tested_on=own.tested_on))


def compare_logits(
    float32: NDArray[np.float32],
    int8: NDArray[np.float32],
    emulated: NDArray[np.float32],
    labels: NDArray[np.int64],
    names: Sequence[str],
) -> QuantizationEffect:
    """Return the figures from logits (N, C) and class indices (N,)."""
    metrics = measure(int8, labels, names)
    before, after = float32.argmax(axis=1), int8.argmax(axis=1)
    difference = int8.astype(np.float64) - float32
    emulation = emulated.astype(np.float64) - int8
    right = int((before == labels).sum())
    return QuantizationEffect(
        test=metrics,
        accuracy_difference_points=100 * (metrics.correct - right) / len(labels),
        label_changes=int((before != after).sum()),
        right_to_wrong=int(((before == labels) & (after != labels)).sum()),
        wrong_to_right=int(((before != labels) & (after == labels)).sum()),
        largest_logit_difference=float(np.abs(difference).max()),
        root_mean_square_difference=float(np.sqrt((difference**2).mean())),
        emulation_difference=float(np.abs(emulation).max()),
        emulation_label_changes=int((emulated.argmax(axis=1) != after).sum()),
    )
