from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from service.inference.onnx_scan import WireError, training_batch_norms
from tests import synthetic

NORM_INPUTS = ["x", "gamma", "beta", "mean", "var"]


def norm_node(**attributes: int) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", NORM_INPUTS, ["y"], name="bn", **attributes)


def model_of(*nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> bytes:
    graph = helper.make_graph(list(nodes), "g", [], [])
    return helper.make_model(graph, functions=list(functions)).SerializeToString()


def conditional(node: onnx.NodeProto) -> onnx.NodeProto:
    branch = helper.make_graph([node], "branch", [], [])
    return helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch)


def test_inference_mode_is_accepted() -> None:
    network = synthetic.random_network(0, norms=True)
    assert training_batch_norms(synthetic.build_graph(network).SerializeToString()) == []


def test_training_mode_is_found_by_name() -> None:
    network = synthetic.random_network(0, norms=True)
    model = synthetic.build_graph(network, training_mode=1).SerializeToString()
    assert training_batch_norms(model) == ["batch_norm_0", "batch_norm_1"]


def test_an_explicit_inference_mode_is_accepted() -> None:
    assert training_batch_norms(model_of(norm_node(training_mode=0))) == []


def test_the_old_way_of_training_by_more_outputs_is_found() -> None:
    node = helper.make_node("BatchNormalization", NORM_INPUTS, ["y", "m", "v", "sm", "sv"])
    assert training_batch_norms(model_of(node)) == ["y"]


def test_a_batch_norm_of_a_branch_is_found() -> None:
    assert training_batch_norms(model_of(conditional(norm_node(training_mode=1)))) == ["bn", "bn"]


def test_a_batch_norm_of_a_function_is_found() -> None:
    function = helper.make_function(
        "local", "Block", ["x"], ["y"], [norm_node(training_mode=1)], [helper.make_opsetid("", 20)]
    )
    assert training_batch_norms(model_of(functions=(function,))) == ["bn"]


def test_a_mode_that_a_function_takes_from_its_caller_is_refused() -> None:
    node = norm_node()
    attribute = node.attribute.add(name="training_mode", ref_attr_name="mode")
    attribute.type = onnx.AttributeProto.INT
    assert training_batch_norms(model_of(node)) == ["bn"]


def test_the_same_attribute_of_another_operator_is_none_of_our_business() -> None:
    node = helper.make_node("Dropout", ["x"], ["y", "mask"], training_mode=1)
    assert training_batch_norms(model_of(node)) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff" * 20, "does not end"),
        (b"\x3a\x7f", "beyond the end"),
        (b"\x3b", "wire type 3"),
        (b"\x38\x01", "a number stands"),
        (b"\x3a", "does not end"),
    ],
)
def test_bytes_that_are_no_message_are_named_so(content: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        training_batch_norms(content)


def test_fixed_width_fields_are_skipped() -> None:
    attribute = helper.make_attribute("epsilon", 0.5)
    node = norm_node(training_mode=1)
    node.attribute.insert(0, attribute)
    tensor = helper.make_tensor("t", TensorProto.DOUBLE, [1], [0.5])
    graph = helper.make_graph([node], "g", [], [], [tensor])
    assert training_batch_norms(helper.make_model(graph).SerializeToString()) == ["bn"]
