"""Test-time augmentation of an ONNX graph, measured on the bytes that a caller would send."""

from __future__ import annotations

import torch

from models.metrics import AugmentedMetrics
from training.data.cifar10 import Split
from training.data.transforms import TEST_TIME_METHOD, TEST_TIME_PASSES, averaged_logits
from training.evaluation.metrics import wilson_interval
from training.evaluation.onnx_runner import GraphRunner


def measure_augmented(runner: GraphRunner, test: Split) -> AugmentedMetrics:
    """Return the accuracy of a graph's logits with test-time augmentation."""

    def logits_of(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(runner.logits(images.permute(0, 2, 3, 1).numpy()))

    images = torch.from_numpy(test.images).permute(0, 3, 1, 2)
    averaged = averaged_logits(logits_of, images)
    correct = int((averaged.argmax(dim=1).numpy() == test.labels).sum())
    return AugmentedMetrics(
        views=TEST_TIME_PASSES,
        method=TEST_TIME_METHOD,
        correct=correct,
        accuracy=correct / len(test.labels),
        accuracy_interval_95=wilson_interval(correct, len(test.labels)),
    )
