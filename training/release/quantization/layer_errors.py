"""Which layers an int8 graph loses most by: each of them rounded alone, all others in float32.

The error of a layer is the root mean square of the logits' differences over that of the logits, on
images of the calibration.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.evaluation.onnx_runner import GraphRunner
from training.release.quantization.bias_correction import layer_name, layers_of

IMAGES = 32


@dataclass(frozen=True)
class LayerError:
    """How far the logits are off, as a share, where this layer alone is rounded."""

    name: str
    error: float


def layer_errors(
    model: onnx.ModelProto, quantized: onnx.ModelProto, images: NDArray[np.uint8]
) -> list[LayerError]:
    """Return the error of each layer that is rounded, in the graph's order.

    The graphs have the same layers in the same order; the first images (N, H, W, C) do.
    """
    images = images[:IMAGES]
    float32 = GraphRunner(model.SerializeToString()).logits(images).astype(np.float64)
    scale = max(float(np.sqrt(np.square(float32).mean())), np.finfo(np.float64).tiny)
    found = []
    for layer, rounded in zip(layers_of(model), layers_of(quantized), strict=True):
        alone = _rounded_alone(model, quantized, rounded.output[0])
        if alone is not None:
            logits = GraphRunner(alone.SerializeToString(), "disable_all").logits(images)
            off = float(np.sqrt(np.square(logits - float32).mean()))
            found.append(LayerError(layer_name(layer), off / scale))
    return found


def _rounded_alone(
    model: onnx.ModelProto, quantized: onnx.ModelProto, output: str
) -> onnx.ModelProto | None:
    """Return the graph with the pairs of one layer's inputs alone; None where it has none."""
    alone = onnx.ModelProto()
    alone.CopyFrom(quantized)
    producers = {name: node for node in alone.graph.node for name in node.output}
    kept: Collection[str] = set(producers[output].input)
    if producers[output].input[1] not in producers:
        return None  # its weights are in float32
    floats = {tensor.name: tensor for tensor in model.graph.initializer}
    for exact, rounded in zip(layers_of(model), layers_of(alone), strict=True):
        if rounded.output[0] != output:
            for place in range(1, len(exact.input)):
                rounded.input[place] = f"{exact.input[place]}_in_float32"
                tensor = alone.graph.initializer.add()
                tensor.CopyFrom(floats[exact.input[place]])
                tensor.name = rounded.input[place]
    for node in alone.graph.node:
        rounding = producers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        # What has no rounding node before it is bytes of the image or a constant: it stays.
        if rounding and rounding.op_type == "QuantizeLinear" and node.output[0] not in kept:
            _clip_instead(alone, node, rounding)
    return alone


def _clip_instead(model: onnx.ModelProto, pair: onnx.NodeProto, rounding: onnx.NodeProto) -> None:
    """Make a pair the clip that it also is: the quantizer takes away activations that it does."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    scale, zero = (numpy_helper.to_array(tensors[name]) for name in rounding.input[1:3])
    limits = np.iinfo(zero.dtype)
    names = [f"{pair.output[0]}_{end}" for end in ("least", "most")]
    for name, limit in zip(names, (limits.min, limits.max), strict=True):
        value = np.float32(scale) * np.float32(limit - int(zero))
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    clip = helper.make_node("Clip", [rounding.input[0], *names], [pair.output[0]], pair.name)
    pair.CopyFrom(clip)
