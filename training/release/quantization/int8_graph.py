"""From the served float32 graph to one that computes in bytes.

Every convolution and dense layer gets `QuantizeLinear` and `DequantizeLinear` pairs around it
(static QDQ), which onnxruntime fuses into integer kernels while loading. A real number is stored as

    activations     byte = round(x / scale) + z, 0 to 255; after a ReLU z = 0
    weights         round(w / scale_c), -64 to 64, with a scale for each output channel c
    bias            round(b / (scale * scale_c)), 32 bits

Weights have 7 bits, for `vpmaddubsw`, with which AVX2 multiplies where there is no VNNI, adds two
products of a byte and a weight in 16 bits and saturates: 2 * 255 * 127 = 64770 does not fit, and
2 * 255 * 64 = 32640 does. So all integer kernels give the same answer.

Two things that a general quantizer cannot know are put right afterwards. The image *is* bytes: one
`DequantizeLinear` stands in for the cast to float, with scale 1, or with scale 1/255 for the
division too where folding has left one, without a rounding; so the first convolution reads the
pixels as they came. And logits stay float32: nothing multiplies them.

Reference:
    Jacob et al. 2018, arXiv:1712.05877, section 2.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from models.manifest import QuantizationScheme
from training.errors import GraphError
from training.release.quantization.bias_correction import LAYERS, correct_biases

# What an activation may exceed is left to one value in 100,000: a few outliers would otherwise
# stretch the steps of all others.
PERCENTILE = 99.999
METHOD = f"percentile {PERCENTILE}"
WEIGHT_LIMIT = 64
SCHEME = QuantizationScheme(
    activations="uint8 per tensor, static; logits float32",
    weights=f"int8 per output channel, symmetric, -{WEIGHT_LIMIT} to {WEIGHT_LIMIT}",
    weight_bits=7,
    per_channel=True,
    bias_correction=True,
)
OPERATORS = ["Conv", "Gemm", "MaxPool", "Relu", "Reshape", "Flatten"]
BATCH_SIZE = 100


def quantize(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """Return the int8 graph of a served float32 graph, calibrated on images (N, H, W, 3).

    Raises:
        GraphError: the graph does not begin with bytes made float, and divided by 255 if by
            anything, or does not end in logits.
    """
    model = _with_biases(model)
    quantized = _insert_pairs(model, images)
    _feed_bytes(quantized)
    _keep_logits(quantized)
    _clean(quantized)
    correct_biases(model, quantized, images)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a bias of zeros where a layer has none, to be corrected later."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in model.graph.node:
        if layer.op_type in LAYERS and len(layer.input) == 2:
            weight = tensors[layer.input[1]]
            transposed = any(a.name == "transB" and a.i for a in layer.attribute)
            channels = weight.dims[0 if layer.op_type == "Conv" or transposed else 1]
            bias = f"{layer.output[0]}_bias"
            zeros = np.zeros(channels, np.float32)
            model.graph.initializer.append(numpy_helper.from_array(zeros, bias))
            layer.input.append(bias)
    return model


def _pixels(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], float]:
    """Return the nodes that make floats of bytes, and by what number they multiply."""
    cast = next((node for node in model.graph.node if node.op_type == "Cast"), None)
    if cast is None:
        raise GraphError(
            "the graph does not cast its bytes to float; quantize the graph that is served, as "
            "'foldnorm export' writes it"
        )
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    divisions = [node for node in model.graph.node if node.op_type == "Div"]
    if not divisions:
        return [cast], 1.0
    (divide,) = divisions
    if divide.input[0] != cast.output[0] or not np.array_equal(constants[divide.input[1]], 255):
        raise GraphError(
            "the graph does not divide its bytes by 255; quantize the graph that is served, as "
            "'foldnorm export' writes it"
        )
    return [cast, divide], 1 / 255


def _insert_pairs(model: onnx.ModelProto, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """Return the graph with a pair around every operator that has an integer kernel."""
    nodes, scale = _pixels(model)
    copy = onnx.ModelProto.FromString(model.SerializeToString())  # the quantizer changes its input
    with tempfile.TemporaryDirectory() as folder, _quiet_quantizer():
        target = Path(folder) / "model.onnx"
        quantize_static(
            copy,
            target,
            _ImageBatches(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "CalibPercentile": PERCENTILE,
                "TensorQuantOverrides": {
                    nodes[-1].output[0]: [
                        {
                            "quant_type": QuantType.QUInt8,
                            "scale": np.array(scale, np.float32),
                            "zero_point": np.array(0, np.uint8),
                        }
                    ]
                },
            },
        )
        return onnx.load(target)


def _feed_bytes(model: onnx.ModelProto) -> None:
    """Let the first `DequantizeLinear` read the bytes that would be cast, scaled and rounded."""
    nodes, _ = _pixels(model)
    pixels = nodes[-1].output[0]
    (rounding,) = [node for node in model.graph.node if pixels in node.input]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and rounding.output[0] in node.input:
            node.input[0] = nodes[0].input[0]
    for node in (*nodes, rounding):
        model.graph.node.remove(node)


def _keep_logits(model: onnx.ModelProto) -> None:
    """Take away the pair after the last layer."""
    producers = {output: node for node in model.graph.node for output in node.output}
    restoring = producers["logits"]
    rounding = producers.get(restoring.input[0])
    if rounding is None or rounding.op_type != "QuantizeLinear":
        raise GraphError("the graph's logits do not come from a dense layer; export it again")
    producers[rounding.input[0]].output[0] = "logits"
    model.graph.node.remove(rounding)
    model.graph.node.remove(restoring)


def _clean(model: onnx.ModelProto) -> None:
    """Remove constants that nothing reads any more, and what the quantizer wrote about itself."""
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(tensor)
    del model.graph.value_info[:], model.metadata_props[:]
    model.producer_name, model.producer_version = "foldnorm", ""


class _ImageBatches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the calibration images to onnxruntime."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images), BATCH_SIZE)
        self._batches = iter([{"image": images[s : s + BATCH_SIZE]} for s in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


@contextlib.contextmanager
def _quiet_quantizer() -> Iterator[None]:
    """Silence its progress on stdout, and its advice to run passes that our export has run."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)
