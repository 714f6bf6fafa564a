"""Batch norms and models that are not what one expects: each has its behaviour."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from tests.onnx_models import Builder, norms, operators, outputs
from training.folding.onnx_frontend import fold_model
from training.folding.proof.running.precision import in_float64
from training.folding.proof.running.reference import Reference

IMAGE = (2, 3, 7, 8)


def pair() -> Builder:
    """A convolution and its batch norm."""
    builder = Builder(IMAGE)
    builder.conv(3, 4)
    builder.norm(4)
    return builder


def reason(model: ir.Model, *, clones: bool = False) -> str:
    """Why the only batch norm stayed."""
    folded = fold_model(model, clones=clones)
    (row,) = folded.norms
    assert norms(folded.model) == 1
    return str(row.reason)


def test_the_pair_is_folded_where_nothing_is_wrong_with_it() -> None:
    assert norms(fold_model(pair().model()).model) == 0


@pytest.mark.parametrize("opset", range(7, 24))
def test_every_opset_is_folded(opset: int) -> None:
    builder = pair()
    folded = fold_model(ir.from_proto(builder.proto(opset)))
    assert operators(folded.model) == ["Conv"]
    assert folded.model.opset_imports[""] == opset


def test_train_mode_stays_as_onnxscript_does_not_do_it() -> None:
    builder = pair()
    builder.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
    builder.nodes[-1].output.extend(["running_mean", "running_var"])
    assert "train mode" in reason(builder.model())


def test_a_batch_norm_whose_statistics_are_read_is_in_train_mode() -> None:
    builder = pair()
    builder.nodes[-1].output.extend(["saved_mean", "saved_var"])
    proto = builder.proto(8)
    proto.graph.output.append(helper.make_tensor_value_info("saved_mean", 1, [4]))
    assert "train mode" in reason(ir.from_proto(proto))


@pytest.mark.parametrize("which", ["gamma1", "var1"])
def test_parameters_that_callers_may_override_are_no_constants(which: str) -> None:
    proto = pair().proto()
    proto.graph.input.append(helper.make_tensor_value_info(which, 1, [4]))
    assert "no constants" in reason(ir.from_proto(proto))


def test_initializers_that_are_listed_as_inputs_of_old_models_are_named_so() -> None:
    """onnx optimizer 133: there such a model is left without a word."""
    proto = pair().proto()
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    assert "constant" in reason(ir.from_proto(proto))


@pytest.mark.parametrize(("value", "words"), [(-1.0, "below zero"), (np.nan, "is nan")])
def test_a_variance_that_is_none_is_named_with_its_channel(value: float, words: str) -> None:
    builder = pair()
    builder.constants["var1"][2] = value
    found = reason(builder.model())
    assert words in found
    assert "channel 2" in found


def test_weights_that_are_computed_are_left_alone() -> None:
    builder = Builder(IMAGE)
    weight = builder.add("Expand", "x", builder.constant("shape", [4, 3, 7, 8], np.int64))
    builder.nodes.clear()
    weight = builder.add(
        "Slice",
        "x",
        *(
            builder.constant(n, [v], np.int64)
            for n, v in zip(("starts", "ends", "axes"), (0, 1, 0), strict=True)
        ),
    )
    builder.add("Conv", "x", weight)
    builder.norm(1)
    assert "without constant weights" in reason(builder.model())


def two_readers() -> Builder:
    builder = Builder(IMAGE)
    source = builder.conv(3, 4)
    one = builder.add("Relu", builder.norm(4))
    two = builder.add("Relu", source)
    builder.add("Add", one, two)
    return builder


def shared_weights() -> Builder:
    builder = Builder(IMAGE)
    source = builder.conv(3, 3, pads=[1, 1, 1, 1])
    builder.add("Relu", builder.norm(3, source))
    weight, bias = builder.nodes[0].input[1:]
    builder.add("Conv", builder.last, weight, bias)
    return builder


@pytest.mark.parametrize("build", [two_readers, shared_weights])
def test_copies_are_made_only_when_asked_for(build: object) -> None:
    model = build().model()  # type: ignore[operator]
    assert "--clone" in reason(model)
    folded = fold_model(model, clones=True)
    assert norms(folded.model) == 0
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    (left,), (right,) = (outputs(one, x) for one in (model, folded.model))
    assert np.abs(left - right).max() <= 1e-5 * np.abs(left).max()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_folded_in_float64_and_rounded_once(dtype: type) -> None:
    builder = pair()
    proto = builder.proto()
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = kind
    model = ir.from_proto(proto)
    folded = fold_model(model).model
    exact = fold_model(in_float64(model)).model
    (rounded, precise) = (
        next(v for v in one.graph.initializers.values() if len(v.shape or ()) == 4).const_value
        for one in (folded, exact)
    )
    assert rounded is not None
    assert precise is not None
    assert rounded.dtype == ir.DataType(kind)
    spacing = float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]
    error = np.abs(rounded.numpy().astype(np.float64) - precise.numpy())
    assert (error <= spacing * np.abs(precise.numpy())).all()
    assert error.any(), "the control: something was rounded"


def test_weights_that_would_overflow_stay() -> None:
    builder = Builder(IMAGE, np.float16)
    builder.conv(3, 4)
    builder.norm(4)
    builder.constants["w0"] *= 1000
    builder.constants["gamma1"] *= 1000
    assert "float16 ends at 6.55e+04" in reason(builder.model())


def body(name: str) -> onnx.GraphProto:
    """A branch of an If: a convolution of an outer tensor, with a batch norm."""
    builder = Builder(IMAGE, seed=len(name))
    builder.conv(3, 4)
    builder.norm(4)
    proto = builder.proto().graph
    del proto.input[:]
    for node in proto.node:
        for names in (node.input, node.output):
            names[:] = [one if one == "x" else f"{name}_{one}" for one in names]
    for tensor in proto.initializer:
        tensor.name = f"{name}_{tensor.name}"
    proto.output[0].name = f"{name}_{proto.output[0].name}"
    return proto


def test_bodies_of_control_flow_are_folded_as_graphs_of_their_own() -> None:
    builder = Builder(IMAGE)
    builder.constant("yes", True, np.bool_)
    builder.add("If", "yes", then_branch=body("then"), else_branch=body("otherwise"))
    model = builder.model()
    folded = fold_model(model)
    assert norms(model) == 2
    assert norms(folded.model) == 0
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    (left,), (right,) = (outputs(one, x) for one in (model, folded.model))
    assert np.abs(left - right).max() <= 1e-5 * np.abs(left).max()


def test_a_tensor_that_a_body_reads_is_not_changed_under_it() -> None:
    builder = Builder(IMAGE)
    source = builder.conv(3, 3, pads=[1, 1, 1, 1])
    builder.norm(3)
    inner = onnx.helper.make_graph(
        [helper.make_node("Relu", [source], ["inner"])],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )
    other = builder.last
    builder.constant("yes", True, np.bool_)
    branch = builder.add("If", "yes", then_branch=inner, else_branch=inner)
    builder.add("Add", other, branch)
    assert "the output of conv0 is also" in reason(builder.model())


def test_functions_of_the_model_are_folded() -> None:
    builder = pair()
    inputs = ["x", *builder.nodes[0].input[1:], *builder.nodes[1].input[1:]]
    function = helper.make_function(
        "local", "Block", inputs, ["out"], builder.nodes, [helper.make_opsetid("", 17)]
    )
    function.node[-1].output[0] = "out"
    builder.nodes = [helper.make_node("Block", inputs, ["y"], domain="local")]
    builder.last = "y"
    proto = builder.proto(functions=[function])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert operators(fold_model(ir.from_proto(proto)).model) == ["Conv"]


def test_a_tensor_of_the_result_knows_which_of_the_original_it_is() -> None:
    builder = pair()
    builder.add("Relu")
    builder.conv(4, 2)
    model = builder.model()
    folded = fold_model(model)
    ((here, there),) = [pair for pair in folded.probes if pair]
    assert (here, there) == ("conv0", "norm1")
    x = np.random.default_rng(1).standard_normal(IMAGE)
    for one, name in ((model, there), (folded.model, here)):
        node = next(n for n in one.graph if n.outputs[0].name == name)
        one.graph.outputs[:] = [node.outputs[0]]
    (left,), (right,) = (Reference(one).run({"x": x}) for one in (model, folded.model))
    assert np.abs(left - right).max() < 1e-5
