"""What onnxruntime fuses in a network it fuses in the folded one as well."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from tests.onnx_networks import (
    ALGEBRA,
    algebra_error,
    batch_norms,
    layer,
    network,
    norm,
    operators,
    served_error,
)
from training.folding.onnx_frontend import fold_model

NUMBERS = {
    name: np.float32(value)
    for name, value in {
        "half": 0.5,
        "one": 1,
        "two": 2,
        "three": 3,
        "six": 6,
        "sixth": 1 / 6,
        "zero": 0,
        "root": 2**0.5,
        "inverse": 0.5**0.5,
        "cubic": 0.044715,
        "outer": (2 / np.pi) ** 0.5,
        "quick": 1.702,
        "eps": 1e-5,
        "eighth": 8**0.5,
    }.items()
}

# Each from `u` to `v`: what runtimes know as one function.
ELEMENTWISE = {
    "GELU": "a = Div(u, root) b = Erf(a) c = Add(b, one) d = Mul(u, c) v = Mul(d, half)",
    "GELU, half at first": "h = Mul(u, half) a = Mul(u, inverse) b = Erf(a) c = Add(one, b) "
    "v = Mul(h, c)",
    "GELU, half in between": "a = Div(u, root) b = Erf(a) c = Add(b, one) d = Mul(c, half) "
    "v = Mul(u, d)",
    "FastGelu": "a = Mul(u, u) b = Mul(a, u) c = Mul(b, cubic) d = Add(u, c) e = Mul(d, outer) "
    "f = Tanh(e) g = Add(f, one) h = Mul(u, half) v = Mul(h, g)",
    "FastGelu, with a power": "b = Pow(u, three) c = Mul(b, cubic) d = Add(u, c) "
    "e = Mul(d, outer) f = Tanh(e) g = Add(f, one) h = Mul(u, half) v = Mul(h, g)",
    "FastGelu, half at last": "b = Pow(u, three) c = Mul(b, cubic) d = Add(u, c) "
    "e = Mul(d, outer) f = Tanh(e) g = Add(f, one) h = Mul(u, g) v = Mul(h, half)",
    "QuickGelu": "a = Mul(u, quick) b = Sigmoid(a) v = Mul(u, b)",
    "SiLU": "a = Sigmoid(u) v = Mul(u, a)",
    "HardSwish": "a = Add(u, three) b = Clip(a, zero, six) c = Mul(u, b) v = Div(c, six)",
    "HardSigmoid": "a = Add(u, three) b = Clip(a, zero, six) v = Mul(b, sixth)",
    "Mish": "a = Softplus(u) b = Tanh(a) v = Mul(u, b)",
}
NORMED = {
    "LayerNorm": "m = ReduceMean<axes=[-1]>(u) d = Sub(u, m) p = Pow(d, two) "
    "q = ReduceMean<axes=[-1]>(p) e = Add(q, eps) r = Sqrt(e) n = Div(d, r) "
    "g = Mul(n, gain) v = Add(g, move)",
    "RMSNorm": "p = Pow(u, two) q = ReduceMean<axes=[-1]>(p) e = Add(q, eps) r = Sqrt(e) "
    "n = Div(u, r) v = Mul(n, gain)",
}


def bn(x):
    return f"BatchNormalization({x}, gamma, beta, mean, var)"


def image(function):
    """A convolution and its batch norm, the function, and a convolution."""
    text = (
        f"(float[N,3,5,5] x) => (float[] y) {{ t = Conv(x, w, b1) u = {bn('t')} {function} "
        "y = Conv(v, x2, b2) }"
    )
    weights = layer(8, 3, 1, 1) | layer(8, name="b1") | layer(4, 8, 1, 1, name="x2")
    return network(text, weights | layer(4, name="b2") | norm(8) | NUMBERS)


def tokens(function):
    """Likewise of dense layers on the last of three axes."""
    text = (
        f"(float[N,5,6] x) => (float[] y) {{ k = MatMul(x, w) s = Transpose<perm=[0,2,1]>(k) "
        f"t = {bn('s')} u = Transpose<perm=[0,2,1]>(t) {function} o = MatMul(v, x2) "
        "y = Add(o, b2) }"
    )
    weights = layer(6, 8) | layer(8, 4, name="x2") | layer(4, name="b2") | norm(8) | NUMBERS
    return network(text, weights | layer(8, name="gain") | layer(8, name="move"))


def fused(model, path):
    """Return the operators that onnxruntime makes of a model, but those that folding takes away."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    content = ir.to_proto(model).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    kinds["Gelu"] += kinds.pop("BiasGelu", 0)  # with a bias that a batch norm has become
    return kinds - Counter(dict.fromkeys(FOLDABLE, kinds.total()))


FOLDABLE = ("BatchNormalization", "Add", "Transpose")


@pytest.mark.parametrize(
    ("build", "function"),
    [(image, name) for name in ELEMENTWISE] + [(tokens, name) for name in ELEMENTWISE | NORMED],
)
def test_a_function_that_runtimes_fuse_stays_whole(build, function, tmp_path):
    model = build((ELEMENTWISE | NORMED)[function])
    folded = fold_model(model)
    assert batch_norms(folded.model) == []
    assert all(row.is_norm for row in folded.rows)
    assert algebra_error(model) < ALGEBRA
    assert served_error(model, folded.model) < 2e-5
    before, after = (fused(one, tmp_path / "fused.onnx") for one in (model, folded.model))
    assert after == before


@pytest.mark.parametrize(
    ("build", "text", "kind"),
    [
        (image, ELEMENTWISE["GELU"], "Gelu"),
        (image, ELEMENTWISE["QuickGelu"], "QuickGelu"),
        (tokens, ELEMENTWISE["FastGelu, with a power"], "FastGelu"),
        (tokens, NORMED["LayerNorm"], "LayerNormalization"),
        (tokens, NORMED["RMSNorm"], "SimplifiedLayerNormalization"),
    ],
)
def test_onnxruntime_knows_what_is_tested(build, text, kind, tmp_path):
    assert fused(build(text), tmp_path / "fused.onnx")[kind] == 1


def test_a_function_that_is_torn_is_not_fused(tmp_path):
    """The negative control: without its last number onnxruntime finds no Gelu."""
    torn = image(ELEMENTWISE["GELU"].replace("v = Mul(d, half)", "v = Identity(d)"))
    assert fused(torn, tmp_path / "torn.onnx")["Gelu"] == 0


def test_a_batch_norm_after_a_function_goes_forward(tmp_path):
    text = ELEMENTWISE["GELU"].replace("v = ", "q = ") + f" v = {bn('q')}"
    model = network(
        f"(float[N,8,5,5] x) => (float[] y) {{ u = Conv(x, w) {text} y = Conv(v, x2) }}",
        layer(8, 8, 1, 1) | layer(4, 8, 1, 1, name="x2") | norm(8) | NUMBERS,
    )
    folded = fold_model(model)
    assert batch_norms(folded.model) == []
    assert fused(folded.model, tmp_path / "fused.onnx")["Gelu"] == 1
    assert algebra_error(model) < ALGEBRA


def test_the_scale_of_attention_stays_next_to_its_product():
    text = (
        "(float[N,5,8] x) => (float[] y) { a = MatMul(x, w) k = MatMul(x, x2) "
        "q = Div(a, eighth) t = Transpose<perm=[0,2,1]>(k) s = MatMul(q, t) y = Softmax(s) }"
    )
    model = network(text, layer(8, 8) | layer(8, 8, name="x2", seed=2) | NUMBERS)
    folded = fold_model(model)
    assert folded.rows == ()
    assert operators(folded.model) == operators(model)


def test_a_batch_norm_spelled_out_after_a_function_is_no_part_of_it():
    text = ELEMENTWISE["GELU"].replace("v = ", "q = ") + " k = Mul(q, scale) v = Add(k, shift)"
    model = network(
        f"(float[N,8,5,5] x) => (float[] y) {{ u = Conv(x, w) {text} y = Conv(v, x2) }}",
        layer(8, 8, 1, 1)
        | layer(4, 8, 1, 1, name="x2")
        | layer(8, 1, 1, name="scale")
        | layer(8, 1, 1, name="shift")
        | NUMBERS,
    )
    folded = fold_model(model)
    assert operators(folded.model) == ["Conv", "Div", "Erf", "Add", "Mul", "Mul", "Conv"]
    assert algebra_error(model) < ALGEBRA


def test_numbers_next_to_a_layer_are_folded_where_they_belong_to_nothing():
    """The negative control: 1 / 255 is no part of a function."""
    model = network(
        "(float[N,3,5,5] x) => (float[] y) { t = Mul(x, sixth) y = Conv(t, w) }",
        layer(4, 3, 1, 1) | NUMBERS,
    )
    assert operators(fold_model(model).model) == ["Conv"]
