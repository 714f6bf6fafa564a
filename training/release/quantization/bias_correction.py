"""Biases that make up for what rounding shifts on average.

Rounded weights do not sum to what they were, so every channel of a layer is off by a constant, and
the next layer sums up those. The constant is measured, layer by layer from the image on, as the
mean over calibration images and positions of float32 minus int8, and added to the bias: 32 bits
wide, it costs nothing.

Reference:
    Nagel et al. 2019, arXiv:1906.04721, section 4.2 (here with real images).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.evaluation.onnx_runner import images_at_once

LAYERS = ("Conv", "Gemm")
BATCH_SIZE = 100


def correct_biases(
    model: onnx.ModelProto, quantized: onnx.ModelProto, images: NDArray[np.uint8]
) -> None:
    """Change the biases of a quantized graph so that each layer's means are the float32 graph's.

    The graphs have the same layers in the same order; images are (N, H, W, C). A layer that is kept
    in float32 has no steps to shift its bias by.
    """
    targets = channel_means(model, [layer.output[0] for layer in layers_of(model)], images)
    restored = {output for node in quantized.graph.node for output in node.output}
    for layer, target in zip(layers_of(quantized), targets, strict=True):
        if layer.input[2] in restored:
            (mean,) = channel_means(quantized, [layer.output[0]], images)
            _shift_bias(quantized, layer, target - mean)


def channel_means(
    model: onnx.ModelProto, names: Sequence[str], images: NDArray[np.uint8]
) -> list[NDArray[np.float64]]:
    """Return the mean of each value over images and positions, (channels,) each.

    The graph runs as it is written, so a layer's output is that before its ReLU.
    """
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums = [np.zeros(())] * len(names)
    size = images_at_once(BATCH_SIZE, images.shape[1:])
    for first in range(0, len(images), size):
        # each (B, channels) or (B, channels, H, W) float32
        values = session.run(None, {"image": images[first : first + size]})
        sums = [total + _sum(value) for total, value in zip(sums, values, strict=True)]
    return [total / len(images) for total in sums]


def _sum(value: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum over images of the mean over positions, (channels,)."""
    positions = tuple(range(2, value.ndim))
    total: NDArray[np.float64] = value.astype(np.float64).mean(axis=positions).sum(axis=0)
    return total


def layers_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the layers that have weights to round, in order."""
    return [node for node in model.graph.node if node.op_type in LAYERS]


def layer_name(layer: onnx.NodeProto) -> str:
    """Return how a layer is called: by its node, or where that has no name by its output."""
    return layer.name or layer.output[0]


def _shift_bias(model: onnx.ModelProto, layer: onnx.NodeProto, shift: NDArray[np.float64]) -> None:
    """Add a shift (channels,) to a layer's bias, in steps of the bias."""
    (restoring,) = [node for node in model.graph.node if layer.input[2] in node.output]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    steps, scale = (tensors[name] for name in restoring.input[:2])
    # The bias is an int32 in steps of scale (channels,).
    correction = np.rint(shift / numpy_helper.to_array(scale).astype(np.float64))
    corrected = numpy_helper.to_array(steps) + correction.astype(np.int32)
    steps.CopyFrom(numpy_helper.from_array(corrected, steps.name))
