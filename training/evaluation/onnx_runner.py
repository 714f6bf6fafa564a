"""An ONNX file run offline by onnxruntime on the CPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from training.errors import GraphError

BATCH_SIZE = 500  # small images that run at once; of larger ones fewer do
SMALL_IMAGE_BYTES = 32 * 32 * 3
OUTPUTS = ["logits", "probabilities"]

Optimization = Literal["disable_all", "enable_all"]

_LEVELS = {
    "disable_all": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "enable_all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def open_session(
    graph: bytes | Path, optimization: Optimization, threads: int = 1, *, arena: bool = True
) -> onnxruntime.InferenceSession:
    """Load an ONNX file, or its content, on the CPU; without an arena memory goes after each run.

    Raises:
        GraphError: onnxruntime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = arena
    options.log_severity_level = 4  # what goes wrong comes as an exception
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's exceptions share no other base
        raise GraphError(f"onnxruntime cannot load the graph: {first_line(exc)}") from exc


class GraphRunner:
    """One graph at one of onnxruntime's optimization levels.

    At `disable_all` the graph runs as it is written; at `enable_all` onnxruntime rewrites it while
    loading, and folds some batch norms by itself.
    """

    def __init__(
        self, content: bytes, optimization: Optimization = "enable_all", threads: int = 1
    ) -> None:
        self._session = open_session(content, optimization, threads)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images that the graph takes."""
        return tuple(self._session.get_inputs()[0].shape[1:])

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits and probabilities, each (N, classes), of images (N, H, W, C) uint8."""
        try:
            logits, probabilities = self._session.run(OUTPUTS, {"image": images})
        except Exception as exc:
            raise GraphError(
                f"the graph does not take 'image' {images.shape} uint8 and give {OUTPUTS}: "
                f"{first_line(exc)}; export it with 'foldnorm export'"
            ) from exc
        return logits, probabilities

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits (N, classes) of any number of images, as many at once as fit."""
        size = images_at_once(BATCH_SIZE, images.shape[1:])
        batches = range(0, len(images), size)
        return np.concatenate([self.run(images[first : first + size])[0] for first in batches])


def images_at_once(small: int, shape: tuple[int, ...]) -> int:
    """Return how many images (H, W, C) run at once where of small ones it are `small`."""
    return max(1, small * SMALL_IMAGE_BYTES // max(SMALL_IMAGE_BYTES, math.prod(shape)))


def first_line(error: Exception) -> str:
    """Return what an exception says, without the rest of the page."""
    return str(error).partition("\n")[0]
