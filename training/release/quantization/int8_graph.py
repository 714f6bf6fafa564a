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
pixels as they came. Where a packed network does something else with them, a mean taken off, say,
they are rounded as any activation. And logits stay float32: nothing multiplies them.

Layers can be kept in float32 by name; `layer_errors` shows which lose most.

Reference:
    Jacob et al. 2018, arXiv:1712.05877, section 2.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
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
from training.evaluation.onnx_runner import images_at_once
from training.release.quantization.bias_correction import correct_biases, layer_name, layers_of

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
OPERATORS += ["Add", "Mul", "Clip", "Pad", "Concat", "AveragePool", "GlobalAveragePool"]
BATCH_SIZE = 100


def quantize(
    model: onnx.ModelProto, images: NDArray[np.uint8], keep: Collection[str] = ()
) -> onnx.ModelProto:
    """Return the int8 graph of a served float32 graph, calibrated on images (N, H, W, C).

    Layers that are named in `keep` stay in float32.

    Raises:
        GraphError: the graph does not make floats of bytes, has no layer of such a name, or nothing
            to round.
    """
    model = _with_biases(model)
    _check_kept(model, keep)
    pixels = _pixels(model)
    quantized = _insert_pairs(model, images, keep, pixels)
    if pixels:
        _feed_bytes(quantized, [node.output[0] for node in pixels.nodes])
    _keep_logits(quantized)
    _clean(quantized)
    correct_biases(model, quantized, images)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized


def _with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a name for each layer, and a bias of zeros where it has none.

    The bias is corrected later.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in layers_of(model):
        layer.name = layer_name(layer)
        if len(layer.input) == 2:
            weight = tensors[layer.input[1]]
            transposed = any(a.name == "transB" and a.i for a in layer.attribute)
            channels = weight.dims[0 if layer.op_type == "Conv" or transposed else 1]
            bias = f"{layer.output[0]}_bias"
            zeros = np.zeros(channels, np.float32)
            model.graph.initializer.append(numpy_helper.from_array(zeros, bias))
            layer.input.append(bias)
    return model


def _check_kept(model: onnx.ModelProto, keep: Collection[str]) -> None:
    names = [layer.name for layer in layers_of(model)]
    for name in keep:
        if name not in names:
            raise GraphError(
                f"there is no layer {name!r} to keep in float32; the graph has {', '.join(names)}"
            )
    if set(names) <= set(keep):
        raise GraphError("every layer is kept in float32, so nothing is left to quantize")


@dataclass(frozen=True)
class _Pixels:
    """The nodes that make floats of bytes, and by what number they multiply."""

    nodes: tuple[onnx.NodeProto, ...]
    scale: float


def _pixels(model: onnx.ModelProto) -> _Pixels | None:
    """Return how floats are made of bytes; None where the graph does more with them than that."""
    cast = next((node for node in model.graph.node if node.op_type == "Cast"), None)
    if cast is None:
        raise GraphError(
            "the graph does not cast its bytes to float; quantize the graph that is served, as "
            "'foldnorm export' writes it"
        )
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    readers = [node for node in model.graph.node if cast.output[0] in node.input]
    if len(readers) != 1 or readers[0].op_type not in ("Div", *OPERATORS):
        return None
    (reader,) = readers
    if reader.op_type != "Div":
        return _Pixels((cast,), 1.0)
    by_255 = np.array_equal(constants.get(reader.input[1], np.nan), 255)
    return _Pixels((cast, reader), 1 / 255) if by_255 else None


def _insert_pairs(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    keep: Collection[str],
    pixels: _Pixels | None,
) -> onnx.ModelProto:
    """Return the graph with a pair around every operator that has an integer kernel."""
    overrides = {}
    if pixels:
        exact = {"scale": np.array(pixels.scale, np.float32), "zero_point": np.array(0, np.uint8)}
        overrides[pixels.nodes[-1].output[0]] = [{"quant_type": QuantType.QUInt8, **exact}]
    batches = _ImageBatches(images)
    copy = onnx.ModelProto.FromString(model.SerializeToString())  # the quantizer changes its input
    with tempfile.TemporaryDirectory() as folder, _quiet_quantizer():
        target = Path(folder) / "model.onnx"
        quantize_static(
            copy,
            target,
            batches,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            nodes_to_exclude=list(keep),
            extra_options={
                "CalibPercentile": PERCENTILE,
                "CalibStridedMinMax": batches.stride,
                "TensorQuantOverrides": overrides,
            },
        )
        return onnx.load(target)


def _feed_bytes(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Let the first `DequantizeLinear` read the bytes that nodes of these outputs make floats of.

    A first layer that is kept in float32 reads floats: nothing is rounded there.
    """
    nodes = [node for node in model.graph.node if node.output[0] in names]
    after = [node for node in model.graph.node if names[-1] in node.input]
    if [node.op_type for node in after] != ["QuantizeLinear"]:
        return
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and after[0].output[0] in node.input:
            node.input[0] = nodes[0].input[0]
    for node in (*nodes, *after):
        model.graph.node.remove(node)


def _keep_logits(model: onnx.ModelProto) -> None:
    """Take away the pair after the last layer, where it was rounded."""
    producers = {output: node for node in model.graph.node for output in node.output}
    restoring = producers["logits"]
    rounding = producers.get(restoring.input[0])
    if rounding is None or rounding.op_type != "QuantizeLinear":
        return
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
    """Gives the calibration images to onnxruntime, which keeps all that they become until asked.

    `stride` is of batches, after which it puts them into its histograms: one of large images, whose
    activations would not fit into memory, and where batches differ in size, which it cannot take.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        size = images_at_once(BATCH_SIZE, images.shape[1:])
        starts = range(0, len(images), size)
        self._batches = [images[start : start + size] for start in starts]
        unequal = len(images) > size and len(images) % size
        self.stride = 1 if size < BATCH_SIZE or unequal else len(self._batches)
        self.set_range(0, len(self._batches))

    def __len__(self) -> int:
        return len(self._batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give these batches next."""
        self._next = iter(self._batches[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._next, None)
        return None if batch is None else {"image": batch}


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
