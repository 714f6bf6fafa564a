"""What the float64 reference computes where ONNX's own has it wrong, and what it computes it in."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from tests.onnx_networks import layer, network, norm
from training.folding.onnx_frontend.folded_model import fold_model
from training.folding.proof.prove import prove_fold
from training.folding.proof.running.original import compared_values
from training.folding.proof.running.reference import Reference

LOOP = (
    "(float[N,3,4] x) => (float[] y) { y = Loop(rounds, , x) <body = b "
    "(int64 i, bool go, float[N,3,4] v) => (bool on, float[N,3,4] w) "
    "{ on = Identity(go) c = Conv(v, k) w = BatchNormalization(c, gamma, beta, mean, var) }> }"
)


def test_a_loop_without_a_condition_goes_all_its_rounds() -> None:
    body = "{ on = Identity(go) w = Add(v, v) }"
    text = LOOP[: LOOP.index("{ on")] + body + "> }"
    model = network(text, {"rounds": np.array(3)})
    (y,) = Reference(model).run({"x": np.ones((1, 3, 4), np.float32)})
    assert np.array_equal(y, np.full((1, 3, 4), 8.0))


def test_a_wrong_fold_in_a_loop_without_a_condition_fails() -> None:
    model = network(LOOP, {"rounds": np.array(2)} | layer(3, 3, 1, name="k") | norm(3))
    folded = fold_model(model)
    assert prove_fold(model, folded).outcome == "holds"
    body = next(n for n in folded.model.graph if n.op_type == "Loop").attributes["body"].as_graph()
    conv = next(node for node in body if node.op_type == "Conv")
    conv.inputs[1].const_value = ir.tensor(-conv.inputs[1].const_value.numpy())
    assert prove_fold(model, folded).outcome == "fails"


def test_the_largest_of_each_channel_has_all_axes() -> None:
    model = network("(float[N,2,3] x) => (float[] y) { y = GlobalMaxPool(x) }")
    (y,) = Reference(model).run({"x": np.arange(12, dtype=np.float32).reshape(2, 2, 3)})
    assert np.array_equal(y, [[[2], [5]], [[8], [11]]])


def test_functions_are_computed_with_the_same_operators_as_the_graph() -> None:
    text = "{ y = BatchNormalization(x, gamma, beta, mean, var) }"
    weights = norm(3)
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)}
    plain = network(f"(float[N,3,4] x) => (float[N,3,4] y) {text}", weights, opset=9)
    called = network(
        "(float[N,3,4] x) => (float[N,3,4] y) { y = local.f(x, gamma, beta, mean, var) }",
        weights,
        opset=9,
        functions='<domain: "local", opset_import: ["": 9]> f (x, gamma, beta, mean, var) => (y) '
        + text,
    )
    (one,), (other,) = (Reference(model).run(x) for model in (plain, called))
    assert np.abs(one - other).max() < 1e-14


def test_plain_numbers_are_computed_in_float64_in_functions_too() -> None:
    third = float(np.float32(1 / 3))
    square = "c = Constant<value_floats = [0.33333334]>() d = Mul(c, c) y = Mul(x, d)"
    plain = network(f"(float[N,1] x) => (float[N,1] y) {{ {square} }}")
    called = network(
        "(float[N,1] x) => (float[N,1] y) { y = local.f(x) }",
        functions=f'<domain: "local", opset_import: ["": 17]> f (x) => (y) {{ {square} }}',
    )
    for model in (plain, called):
        (y,) = Reference(model).run({"x": np.ones((1, 1), np.float32)})
        assert y.dtype == np.float64
        assert abs(y[0, 0] - third**2) < 1e-16


def test_bodies_of_old_files_are_marked() -> None:
    """Version 3 of the format has no constants in bodies."""
    text = (
        "(float[N,2] x, bool u) => (float[N,2] y) { m = MatMul(x, w) "
        "p = BatchNormalization(m, gamma, beta, mean, var) y = If(u) <then_branch = g1 () => "
        "(float[N,2] t) { t = Relu(p) }, else_branch = g2 () => (float[N,2] e) { e = Tanh(p) }> }"
    )
    proto = ir.to_proto(network(text, layer(2, 2) | norm(2), opset=8, ir_version=3))
    proto.graph.input.extend(
        onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims)
        for one in proto.graph.initializer
    )
    model = ir.from_proto(proto)
    assert prove_fold(model, fold_model(model)).outcome == "holds"


def test_a_computed_number_that_is_compared_with_is_tried() -> None:
    text = "{ n = Cast<to = 7>(c) m = Identity(n) e = Equal(r, m) y = Not(e) }"
    model = network(f"(int64[1] r) => (bool[1] y) {text}", {"c": np.array([16000], np.int32)})
    assert 16000.0 in compared_values(model)


def test_where_the_reference_returns_something_else_onnxruntime_alone_is_compared() -> None:
    """It keeps an optional tensor as a list; a traceback before."""
    text = (
        "(float[N,3] x) => (float[N,2] y) { m = MatMul(x, w) "
        "p = BatchNormalization(m, gamma, beta, mean, var) o = Optional(p) "
        "y = OptionalGetElement(o) }"
    )
    model = network(text, layer(3, 2) | norm(2), opset=18)
    verdict = prove_fold(model, fold_model(model))
    assert verdict.outcome == "holds"
    assert verdict.algebra is None
    assert "axes" in " ".join(verdict.notes)
