"""Which layers an int8 graph loses most in: what each adds to the error of those before it.

The error of a layer is the root mean square of int8 minus float32 over that of float32, of its
output on calibration images; what it adds is its square less the largest of the layers before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.evaluation.onnx_runner import images_at_once, open_session
from training.release.quantization.bias_correction import layer_name, layers_of

BATCH_SIZE = 32
IMAGES = 64


@dataclass(frozen=True)
class LayerError:
    """A layer's relative error, and what it adds to it by itself; both as shares."""

    name: str
    error: float
    added: float


def layer_errors(
    model: onnx.ModelProto, quantized: onnx.ModelProto, images: NDArray[np.uint8]
) -> list[LayerError]:
    """Return the error of each layer, in the graph's order; the first images (N, H, W, C) do."""
    layers = layers_of(model)
    pairs = [
        _Outputs(graph, [layer.output[0] for layer in layers_of(graph)])
        for graph in (model, quantized)
    ]
    size = images_at_once(BATCH_SIZE, images.shape[1:])
    squares = np.zeros((2, len(layers)))  # of the differences, and of float32
    for start in range(0, min(len(images), IMAGES), size):
        float32, int8 = (pair.run(images[start : start + size]) for pair in pairs)
        for index, (exact, rounded) in enumerate(zip(float32, int8, strict=True)):
            squares[0, index] += np.square(rounded.astype(np.float64) - exact).sum()
            squares[1, index] += np.square(exact.astype(np.float64)).sum()
    errors = np.sqrt(squares[0] / np.maximum(squares[1], np.finfo(np.float64).tiny))
    before = np.maximum.accumulate(np.concatenate([[0.0], errors[:-1]]))
    return [
        LayerError(layer_name(layer), float(error), math.sqrt(max(0.0, error**2 - earlier**2)))
        for layer, error, earlier in zip(layers, errors, before, strict=True)
    ]


class _Outputs:
    """Runs a graph as it is written, for some of its values."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        self._names = list(names)
        probe = onnx.ModelProto.FromString(model.SerializeToString())
        del probe.graph.output[:]
        probe.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
        )
        self._session = open_session(probe.SerializeToString(), "disable_all")

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return the values of images (N, H, W, C)."""
        return [np.asarray(value) for value in self._session.run(self._names, {"image": images})]
