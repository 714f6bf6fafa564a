"""Sizes that the graph computes from constants, or that ONNX's inference does not follow."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.onnx_networks import ALGEBRA, algebra_error, batch_norms, layer, network, norm, operators
from training.folding.onnx_frontend import fold_model

BN = "BatchNormalization({x}, gamma, beta, mean, var)"
AMOUNTS = {
    "copied": "a = Identity(s)",
    "cast": "h = Cast<to = 6>(s) a = Cast<to = 7>(h)",
    "joined": "a = Concat<axis = 0>(s0, s1)",
}


@pytest.mark.parametrize("form", AMOUNTS)
def test_a_batch_norm_behind_a_split_by_computed_amounts_is_folded(form: str) -> None:
    text = (
        f"(float[N,3,5] x) => (float[] y, float[] z) {{ {AMOUNTS[form]} c = Conv(x, w) "
        f"y, d = Split<axis = 1>(c, a) e = Conv(d, v) z = {BN.format(x='e')} }}"
    )
    weights = layer(4, 3, 1) | layer(4, 3, 1, name="v") | norm(4)
    sizes = {"s": np.array([1, 3]), "s0": np.array([1]), "s1": np.array([3])}
    model = network(text, weights | sizes)
    assert batch_norms(fold_model(model).model) == []
    assert algebra_error(model) < ALGEBRA


def test_a_spelled_out_batch_norm_with_a_constant_of_no_stated_shape_is_folded() -> None:
    text = (
        "(float[N,3,5] x) => (float[] y) { k = Reshape(e, none) v = Add(var, k) "
        "d = Sqrt(v) c = Conv(x, w) m = Sub(c, mean) q = Div(m, d) g = Mul(q, gamma) "
        "y = Add(g, beta) }"
    )
    columns = {key: value[:, None] for key, value in norm(4).items()}
    more = {"e": np.array([1e-3], np.float32), "none": np.zeros(0, np.int64)}
    model = network(text, layer(4, 3, 1) | columns | more, opset=8)
    assert operators(fold_model(model).model) == ["Conv"]
    assert algebra_error(model) < ALGEBRA


def test_the_axes_of_what_a_loop_carries_are_known() -> None:
    text = (
        "(float[N,3,5] x) => (float[] y) { l = Loop(rounds, , x) <body = b "
        "(int64 i, bool go, float[N,3,5] v) => (bool on, float[N,3,5] r) "
        "{ on = Identity(go) r = Relu(v) }> c = Conv(l, w) m = Mul(c, gamma) y = Add(m, beta) }"
    )
    columns = {key: value[:, None] for key, value in norm(4).items()}
    weights = layer(4, 3, 1) | columns | {"rounds": np.array(2)}
    assert operators(fold_model(network(text, weights)).model) == ["Loop", "Conv"]


@pytest.mark.parametrize("opset", [7, 8, 10, 11])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_border_is_written_and_exact_in_every_opset(opset: int, channels: int) -> None:
    text = (
        f"(float[N,{channels},5] x) => (float[] y) {{ p = {BN.format(x='x')} "
        "y = Conv<pads = [1, 1]>(p, w) }"
    )
    model = network(text, layer(2, channels, 3) | norm(channels), opset=opset)
    folded = fold_model(model).model
    assert batch_norms(folded) == []
    folded.graph.outputs[0].shape = ir.Shape([None, 2, 5])
    onnx.checker.check_model(ir.to_proto(folded), full_check=True)
    assert algebra_error(model) < ALGEBRA


def test_what_a_file_says_of_its_outputs_stays() -> None:
    text = f"(float[N,3,5] x) => (float[N,4,L] y) {{ c = Conv(x, w) y = {BN.format(x='c')} }}"
    folded = fold_model(network(text, layer(4, 3, 1) | norm(4))).model
    assert str(folded.graph.outputs[0].shape) == "[N,4,L]"


@pytest.mark.parametrize(
    "steps", ["m = Mul(r, gamma) y = Add(m, beta)", "m = Sub(r, mean) y = Mul(m, gamma)"]
)
def test_a_spelled_out_batch_norm_that_stays_has_a_row_whichever_comes_first(steps: str) -> None:
    columns = {key: value[:, None] for key, value in norm(3).items()}
    text = f"(float[N,3,5] x) => (float[N,3,5] y) {{ r = Relu(x) {steps} }}"
    rows = fold_model(network(text, columns)).rows
    assert [row.is_norm for row in rows] == [False]
    assert rows[0].reason is not None
    assert "Relu" in rows[0].reason
