"""Constants that a graph computes become initializers, which runtimes fuse."""

from __future__ import annotations

import numpy as np

from tests.onnx_networks import layer, network, norm, operators
from training.folding.onnx_frontend import fold_model
from training.folding.proof import prove_fold

BN = "BatchNormalization({x}, gamma, beta, mean, var)"
AMOUNTS = {"one": np.ones(1, np.float32), "four": np.array([4]), "zero": np.array(0)}
PARAMETERS = layer(4, 3, 3, 3) | layer(4, 4, 1, 1, name="v") | norm(4) | AMOUNTS
FIXED = f"(float[2,3,8,8] x) => (float[] y) {{ c = Conv(x, w) p = {BN.format(x='c')} "
HEAD = f"(float[N,3,8,8] x) => (float[] y) {{ c = Conv(x, w) p = {BN.format(x='c')} "


def test_biases_and_bounds_that_are_computed_are_constants() -> None:
    model = network(
        f"{HEAD} lo = CastLike(zero, p) q = Clip(p, lo) b = Expand(one, four) y = Conv(q, v, b) }}",
        PARAMETERS,
    )
    folded = fold_model(model)
    assert operators(folded.model) == ["Conv", "Clip", "Conv"]
    constants = folded.model.graph.initializers
    assert constants["lo"].const_value is not None
    assert constants["lo"].const_value.numpy() == np.float32(0)
    np.testing.assert_array_equal(constants["b"].const_value, np.ones(4, np.float32))
    assert prove_fold(model, folded).holds


def test_what_would_grow_stays_computed() -> None:
    model = network(
        f"{HEAD} m = Expand(one, large) s = ReduceSum<keepdims = 0>(m) r = Relu(p) a = Sub(r, s) "
        "z = Expand(one, wide) q = Add(a, z) t = Tanh(q) y = ReduceMax<keepdims = 0>(t) }",
        PARAMETERS | {"large": np.array([1 << 20]), "wide": np.array([1, 1, 1 << 19, 1])},
    )
    names = operators(fold_model(model).model)
    assert names.count("Expand") == 1  # the one that the network itself reads
    assert "ReduceSum" not in names


def test_quantized_weights_are_left_to_the_runtime() -> None:
    model = network(
        f"{HEAD} d = DequantizeLinear<axis = 0>(q, scale) y = Conv(p, d) }}",
        PARAMETERS | {"q": np.ones((4, 4, 1, 1), np.int8), "scale": np.full(4, 0.5, np.float32)},
    )
    assert "DequantizeLinear" in operators(fold_model(model).model)


def test_a_size_of_what_was_quantized_is_a_constant() -> None:
    model = network(
        f"{FIXED} d = DequantizeLinear<axis = 0>(q, scale) e = Conv(p, d) s = Shape(e) "
        "y = Reshape(e, s) }",
        PARAMETERS | {"q": np.ones((4, 4, 1, 1), np.int8), "scale": np.full(4, 0.5, np.float32)},
    )
    names = operators(fold_model(model).model)
    assert "DequantizeLinear" in names
    assert "Shape" not in names


def test_branches_of_branches_cost_no_more_than_their_nodes() -> None:
    """Each sum doubles the ways back to the input: 2^80 of them."""
    sums = "r0 = Relu(p) " + " ".join(
        f"a{k} = Relu(r{k}) b{k} = Tanh(r{k}) r{k + 1} = Add(a{k}, b{k})" for k in range(80)
    )
    model = network(
        f"{FIXED} {sums} s = Shape(r80) y = Reshape(r80, s) }}",
        PARAMETERS,
    )
    assert "Shape" not in operators(fold_model(model).model)
