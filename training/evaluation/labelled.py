"""A graph on labelled images of one's own: read, decoded and answered a thousand at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.metrics import TestMetrics
from models.tensors import ImageSpec
from training.data.labelled_images import LabelledImages
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner


def measure_labelled(
    runner: GraphRunner, images: LabelledImages, spec: ImageSpec, labels: Sequence[str]
) -> TestMetrics:
    """Return every metric of a graph on the images, which are named in it.

    Raises:
        DataError: a file cannot be read, or is no image that is taken.
        GraphError: the graph does not run.
    """
    logits: list[NDArray[np.float32]] = []
    classes: list[NDArray[np.int64]] = []
    for chunk in images.chunks(spec):
        logits.append(runner.logits(chunk.images))
        classes.append(chunk.labels)
    return measure(np.concatenate(logits), np.concatenate(classes), labels, images.tested_on)
