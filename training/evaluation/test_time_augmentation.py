"""Test-time augmentation of an ONNX graph, measured on the bytes that a caller would send."""

from __future__ import annotations

import torch

from models.manifest import AugmentedMetrics
from training.data.cifar10 import Split
from training.data.transforms import VIEW_COUNT, VIEWS_METHOD, averaged_logits
from training.evaluation.metrics import wilson_interval
from training.evaluation.onnx_runner import GraphRunner


def measure_six_views(runner: GraphRunner, test: Split) -> AugmentedMetrics:
    """Return the accuracy of a graph's logits averaged over six views of each image."""

    def logits_of(views: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(runner.logits(views.permute(0, 2, 3, 1).numpy()))

    images = torch.from_numpy(test.images).permute(0, 3, 1, 2)
    averaged = averaged_logits(logits_of, images)
    correct = int((averaged.argmax(dim=1).numpy() == test.labels).sum())
    return AugmentedMetrics(
        views=VIEW_COUNT,
        method=VIEWS_METHOD,
        correct=correct,
        accuracy=correct / len(test.labels),
        accuracy_interval_95=wilson_interval(correct, len(test.labels)),
    )
