"""Bias correction: every layer's channels have the float32 graph's means again."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests import synthetic
from training.release.quantization.bias_correction import LAYERS, channel_means, correct_biases
from training.release.quantization.int8_graph import quantize

BIASES = {"bias0_quantized", "bias1_quantized", "head_bias_quantized"}
IMAGES = synthetic.random_images(9, 50)


@pytest.fixture
def model():
    return synthetic.build_graph(synthetic.random_network(9, norms=True).folded())


@pytest.fixture
def shifted(model):
    """The int8 graph with every bias off by hundreds of steps."""
    quantized = quantize(model, IMAGES)
    generator = np.random.default_rng(9)
    for tensor in quantized.graph.initializer:
        if tensor.name in BIASES:
            steps = numpy_helper.to_array(tensor)
            wrong = steps + generator.integers(200, 900, steps.shape, np.int32)
            tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
    return quantized


def layer_outputs(model):
    return [node.output[0] for node in model.graph.node if node.op_type in LAYERS]


def largest_shift(model, quantized):
    wanted = channel_means(model, layer_outputs(model), IMAGES)
    found = channel_means(quantized, layer_outputs(quantized), IMAGES)
    return max(np.abs(a - b).max() for a, b in zip(wanted, found, strict=True))


def largest_step(quantized):
    scales = [t for t in quantized.graph.initializer if t.name.endswith("_quantized_scale")]
    return max(numpy_helper.to_array(scale).max() for scale in scales)


def test_means_are_restored_to_half_a_step_and_were_not_before(model, shifted):
    assert largest_shift(model, shifted) > 50 * largest_step(shifted)
    correct_biases(model, shifted, IMAGES)
    assert largest_shift(model, shifted) <= 0.51 * largest_step(shifted)


def test_nothing_but_biases_is_changed(model, shifted):
    before = onnx.ModelProto.FromString(shifted.SerializeToString())
    correct_biases(model, shifted, IMAGES)
    changed = {
        new.name
        for old, new in zip(before.graph.initializer, shifted.graph.initializer, strict=True)
        if old != new
    }
    assert changed == BIASES
    assert list(before.graph.node) == list(shifted.graph.node)


def test_means_are_over_images_and_positions(model):
    (means,) = channel_means(model, ["x"], IMAGES)
    expected = IMAGES.astype(np.float64).mean(axis=(0, 1, 2)) / 255
    assert means == pytest.approx(expected, rel=1e-6)
