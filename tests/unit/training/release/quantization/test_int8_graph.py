"""The int8 graph: bytes in, weights that no kernel saturates on, logits in float32."""

import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests import synthetic
from training.errors import GraphError
from training.evaluation.onnx_runner import GraphRunner
from training.release.quantization.bias_correction import channel_means, layer_name, layers_of
from training.release.quantization.int8_graph import WEIGHT_LIMIT, quantize
from training.release.quantization.int8_verdict import weight_error_steps
from training.release.quantization.layer_errors import layer_errors

NETWORK = synthetic.random_network(5, norms=True).folded()
IMAGES = synthetic.random_images(5, 64)
INT16 = np.iinfo(np.int16)


@pytest.fixture(scope="module")
def model():
    return synthetic.build_graph(NETWORK)


@pytest.fixture(scope="module")
def quantized(model):
    return quantize(model, IMAGES)


def tensors(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model):
    return [node.op_type for node in model.graph.node]


def byte_weights(model):
    return [array for array in tensors(model).values() if array.dtype == np.int8 and array.ndim > 1]


def test_the_image_is_read_as_bytes_without_a_rounding(quantized):
    assert {"Cast", "Div"} & set(operators(quantized)) == set()
    (first,) = [node for node in quantized.graph.node if "chw" in node.input]
    assert first.op_type == "DequantizeLinear"
    scale, zero_point = (tensors(quantized)[name] for name in first.input[1:])
    assert np.float32(1 / 255) == scale
    assert zero_point == 0


def test_logits_come_straight_from_the_last_layer(quantized):
    (last,) = [node for node in quantized.graph.node if "logits" in node.output]
    assert last.op_type == "Gemm"


def test_two_products_fit_the_16_bits_that_avx2_has_for_them(quantized):
    largest = max(int(np.abs(weights.astype(int)).max()) for weights in byte_weights(quantized))
    assert largest == WEIGHT_LIMIT
    assert 2 * 255 * largest <= INT16.max
    assert INT16.max < 2 * 255 * 127  # what weights of 8 bits would give


def test_every_weight_is_the_nearest_byte(model, quantized):
    assert 0.4 < weight_error_steps(model, quantized) <= 0.5 + 1e-5


def test_a_weight_that_is_another_byte_is_noticed(model, quantized):
    wrong = onnx.ModelProto.FromString(quantized.SerializeToString())
    (tensor,) = [t for t in wrong.graph.initializer if t.name == "kernel1_quantized"]
    weights = numpy_helper.to_array(tensor).copy()
    weights[3, 2, 1, 1] += 1
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    assert weight_error_steps(model, wrong) > 0.51


def test_the_weights_of_another_network_are_noticed(quantized):
    other = synthetic.build_graph(synthetic.random_network(6, norms=True).folded())
    assert weight_error_steps(other, quantized) > 10


def test_a_graph_of_other_layers_is_refused(model, quantized):
    shorter = onnx.ModelProto.FromString(quantized.SerializeToString())
    (gemm,) = [node for node in shorter.graph.node if node.op_type == "Gemm"]
    shorter.graph.node.remove(gemm)
    with pytest.raises(GraphError, match="other layers than its float32 graph"):
        weight_error_steps(model, shorter)


def test_onnxruntime_runs_every_layer_on_integers(quantized, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        quantized.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    optimized = operators(onnx.load(tmp_path / "optimized.onnx"))
    floating = {"Conv", "Gemm", "FusedConv", "FusedGemm", "QuantizeLinear", "DequantizeLinear"}
    assert floating & set(optimized) == set()
    assert [optimized.count("QLinearConv"), optimized.count("QGemm")] == [2, 1]


def test_its_logits_are_near_and_those_of_another_network_are_not(quantized):
    truth = NETWORK.logits(IMAGES)
    logits = GraphRunner(quantized.SerializeToString()).logits(IMAGES)
    # A weight errs by at most 1/128 of the largest of its channel and an activation by 1/512 of
    # the range: a few errors of that size add up as a random walk, to some hundredths.
    assert np.abs(logits - truth).max() < 0.05 * np.abs(truth).max()
    other = synthetic.random_network(6, norms=True).logits(IMAGES)
    assert np.abs(logits - other).max() > 0.5 * np.abs(truth).max()


def test_it_takes_any_batch_size_and_answers_an_image_alone_alike(quantized):
    runner = GraphRunner(quantized.SerializeToString())
    together = runner.logits(IMAGES)
    alone = np.concatenate([runner.logits(image[None]) for image in IMAGES[:5]])
    assert (together[:5] == alone).all()


def test_it_is_the_same_every_time_and_leaves_its_source_alone(model, quantized):
    before = model.SerializeToString()
    assert quantize(model, IMAGES).SerializeToString() == quantized.SerializeToString()
    assert model.SerializeToString() == before


def test_it_says_nothing_on_stdout_and_leaves_no_trace_of_the_quantizer(model, capsys):
    content = quantize(model, IMAGES)
    assert capsys.readouterr() == ("", "")
    assert content.producer_name == "foldnorm"
    assert list(content.metadata_props) == []
    assert tempfile.gettempdir().encode() not in content.SerializeToString()


def test_pixels_that_are_divided_by_something_else_are_rounded_as_any_activation(model):
    other = onnx.ModelProto.FromString(model.SerializeToString())
    (tensor,) = [t for t in other.graph.initializer if t.name == "scale_255"]
    tensor.CopyFrom(numpy_helper.from_array(np.array(127, np.float32), tensor.name))
    float32 = GraphRunner(other.SerializeToString()).logits(IMAGES)
    int8 = quantize(other, IMAGES)
    assert operators(int8).count("Div") == 1
    logits = GraphRunner(int8.SerializeToString()).logits(IMAGES)
    assert np.abs(logits - float32).max() < 0.05 * np.abs(float32).max()


def test_any_number_of_images_can_be_calibrated_on(model):
    images = synthetic.random_images(5, 130)  # two batches of different sizes
    logits = GraphRunner(quantize(model, images).SerializeToString()).logits(IMAGES)
    truth = NETWORK.logits(IMAGES)
    assert np.abs(logits - truth).max() < 0.05 * np.abs(truth).max()


def test_a_layer_that_is_kept_computes_on_its_own_weights(model, quantized):
    first, last = layers_of(model)[0], layers_of(model)[-1]
    kept = quantize(model, IMAGES, keep=[layer_name(first), layer_name(last)])
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in kept.graph.initializer}
    for place in (0, -1):
        layer = layers_of(kept)[place]
        assert np.array_equal(after[layer.input[1]], weights[layers_of(model)[place].input[1]])
    assert len(byte_weights(kept)) == len(byte_weights(quantized)) - 2
    assert weight_error_steps(model, kept) <= 0.5 + 1e-5
    truth = NETWORK.logits(IMAGES)
    errors = [
        np.abs(GraphRunner(graph.SerializeToString()).logits(IMAGES) - truth).mean()
        for graph in (kept, quantized)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("keep", "says"), [(["gone"], "there is no layer 'gone' to keep"), (None, "nothing is left")]
)
def test_what_cannot_be_kept_is_refused(model, keep, says):
    keep = keep or [layer_name(layer) for layer in layers_of(model)]
    with pytest.raises(GraphError, match=says):
        quantize(model, IMAGES, keep=keep)


def test_the_layers_that_lose_most_are_shown(model, quantized):
    names = [layer_name(layer) for layer in layers_of(model)]
    errors = layer_errors(model, quantized, IMAGES)
    assert [error.name for error in errors] == names
    assert all(0 < error.error < 0.05 for error in errors)
    worst = layers_of(model)[1]
    spoilt = onnx.ModelProto.FromString(quantized.SerializeToString())
    (tensor,) = [t for t in spoilt.graph.initializer if t.name == f"{worst.input[1]}_quantized"]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) // 8, tensor.name))
    after = layer_errors(model, spoilt, IMAGES)
    assert [a.error == b.error for a, b in zip(after, errors, strict=True)] == [True, False, True]
    assert max(after, key=lambda error: error.error).name == layer_name(worst)


def test_a_layer_that_is_kept_has_no_error(model):
    kept = layer_name(layers_of(model)[0])
    errors = layer_errors(model, quantize(model, IMAGES, keep=[kept]), IMAGES)
    assert [error.name for error in errors] == [layer_name(one) for one in layers_of(model)[1:]]


def test_a_layer_without_a_bias_gets_one_and_is_corrected(model):
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    last = [node for node in bare.graph.node if node.op_type == "Gemm"][-1]
    del last.input[2]
    int8 = quantize(bare, IMAGES)
    means = [
        channel_means(graph, ["logits"], IMAGES)[0]
        for graph in (bare, int8, quantize(model, IMAGES))
    ]
    assert np.abs(means[0] - means[1]).max() < 0.01 * np.abs(means[0]).max()
    assert np.abs(means[0] - means[2]).max() > np.abs(means[0] - means[1]).max()  # has a bias
    assert [len(node.input) for node in bare.graph.node if node.op_type == "Gemm"][-1] == 2
