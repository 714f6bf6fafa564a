"""Whether an artifact's int8 graph is its served network: from the files alone, and the test set.

Rounding moves a weight by at most half a step of its channel, and nothing else does; so every
weight of the int8 graph is compared with the float32 graph's. What the rounding does to answers is
no matter of proof but of measurement, and is compared with what the manifest states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models.bundle import Bundle
from models.manifest import QuantizationEffect
from training.data.cifar10 import Split
from training.errors import GraphError
from training.evaluation.onnx_runner import GraphRunner
from training.folding.proof.tolerances import largest_difference
from training.release.quantization.bias_correction import layers_of
from training.release.quantization.effect import measure_effect

# Half a step, and the rounding of a float32 division and product.
MAX_WEIGHT_ERROR_STEPS = 0.5 + 64 * 2.0**-23
# None on integer kernels; a machine that emulates them changes a few labels of 10,000.
MAX_UNLIKE_SHARE = 0.001


@dataclass(frozen=True)
class QuantizationVerdict:
    """An int8 graph's weights, golden logits and effect on the test set."""

    weight_error_steps: float
    golden_error: float
    golden_tolerance: float
    effect: QuantizationEffect
    max_loss_points: float  # as it was released
    answers_unlike_stated: int  # test images that are right in one and wrong in the other

    @property
    def holds(self) -> bool:
        """Whether every part of it holds."""
        return (
            self.weight_error_steps <= MAX_WEIGHT_ERROR_STEPS
            and self.golden_error <= self.golden_tolerance
            and self.effect.accuracy_difference_points >= -self.max_loss_points
            and self.answers_unlike_stated <= MAX_UNLIKE_SHARE * self.effect.test.images
        )


def judge_quantization(artifact: Bundle, test: Split) -> QuantizationVerdict | None:
    """Return the verdict on an artifact's int8 graph, None if it has none.

    Raises:
        GraphError: the int8 graph has other layers than the float32 graph.
    """
    report = artifact.manifest.quantization
    if report is None:
        return None
    source, quantized = artifact.read_graph(report.source), artifact.read_graph("int8")
    golden = artifact.read_golden("int8")
    effect = measure_effect(source, quantized, test, artifact)
    stated, found = report.effect.test.correct_mask(), effect.test.correct_mask()
    return QuantizationVerdict(
        weight_error_steps=weight_error_steps(
            onnx.load_from_string(source), onnx.load_from_string(quantized)
        ),
        golden_error=largest_difference(
            GraphRunner(quantized).logits(golden.images), golden.logits
        ),
        golden_tolerance=report.effect.emulation_difference,
        effect=effect,
        max_loss_points=report.max_loss_points,
        answers_unlike_stated=int((stated != found).sum()),
    )


def weight_error_steps(model: onnx.ModelProto, quantized: onnx.ModelProto) -> float:
    """Return the largest distance of a weight from its byte, in steps of its channel.

    Raises:
        GraphError: the graphs have different layers.
    """
    layers, rounded_layers = layers_of(model), layers_of(quantized)
    pairs = list(zip(layers, rounded_layers, strict=False))
    if not pairs or len(layers) != len(rounded_layers):
        raise GraphError("the int8 graph has other layers than its float32 graph; quantize again")
    before = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    restoring = {node.output[0]: node for node in quantized.graph.node}
    errors = []
    for layer, rounded in pairs:
        if rounded.input[1] not in restoring:  # kept in float32
            if not np.array_equal(after[rounded.input[1]], before[layer.input[1]]):
                raise GraphError(f"{rounded.name} is kept in float32, with other weights")
            continue
        weights = before[layer.input[1]].astype(np.float64)  # (O, I, kH, kW) or (O, I)
        steps, scale, _ = (after[name] for name in restoring[rounded.input[1]].input)
        if steps.shape != weights.shape:
            raise GraphError(f"{rounded.name} has weights {steps.shape}, not {weights.shape}")
        errors.append(_largest_error(weights, steps, scale))
    return max(errors, default=0.0)


def _largest_error(
    weights: NDArray[np.float64], steps: NDArray[np.int8], scale: NDArray[np.float32]
) -> float:
    by_channel = scale.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    return float(np.abs(weights / by_channel - steps).max())
