"""Counts on a graph small enough to count by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.evaluation.graph_statistics import (
    multiply_accumulates,
    node_counts,
    parameter_count,
    summed_products,
)

RUNTIME_IR = 10  # of ONNX: the newest is newer than what onnxruntime reads


@pytest.fixture
def model():
    """Conv 3 -> 4, 3x3, stride 2; then a dense layer 4*2*2 -> 5."""
    weights = {
        "kernel": np.zeros((4, 3, 3, 3), np.float32),
        "bias": np.zeros(4, np.float32),
        "dense": np.zeros((5, 16), np.float32),
        "shape": np.array([-1, 16]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], strides=[2, 2]),
        helper.make_node("Relu", ["y"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "dense"], ["z"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 3, 5, 5])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=RUNTIME_IR
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def test_nodes_are_counted_by_operator(model):
    assert node_counts(model) == {
        "Cast": 1,
        "Conv": 1,
        "Gemm": 1,
        "Relu": 1,
        "Reshape": 1,
    }


def test_parameters_are_those_of_layers_and_not_of_shapes(model):
    assert parameter_count(model) == 4 * 27 + 4 + 5 * 16


def test_multiply_accumulates_are_outputs_times_inputs_of_each(model):
    assert multiply_accumulates(model) == 4 * 2 * 2 * 27 + 5 * 16


def test_products_are_added_up_along_the_longest_way(model):
    assert summed_products(model) == 27 + 16
    wider = helper.make_node("Conv", ["x", "other", "bias"], ["w"], strides=[2, 2], pads=[1] * 4)
    narrow = helper.make_node("Slice", ["w", "begin", "end", "axes"], ["s"])
    both = helper.make_node("Add", ["y", "s"], ["sum"])
    model.graph.node[2].input[0] = "sum"
    for place, node in enumerate((wider, narrow, both)):
        model.graph.node.insert(2 + place, node)
    for name, value in {
        "other": np.zeros((4, 3, 5, 5), np.float32),
        "begin": np.array([0, 0]),
        "end": np.array([2, 2]),
        "axes": np.array([2, 3]),
    }.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    assert summed_products(model) == 75 + 16
