"""Batch norms of weights: computed, or listed."""

import numpy as np
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

SHAPES = {"rows": np.array([1, 6, -1]), "kernels": np.array([6, 4, 3, 3])}
WEIGHTS = layer(6, 4, 3, 3) | norm(6) | SHAPES


def standardized(outputs, settings):
    return (
        "(float[N,4,8,8] x) => (float[] y) { r = Reshape(w, rows) "
        f"{outputs} = BatchNormalization{settings}(r, gamma, beta, mean, var) "
        "k = Reshape(n, kernels) c = Conv(x, k) y = Relu(c) }"
    )


@pytest.mark.parametrize(
    ("outputs", "settings"),
    [("n, a, b", "<training_mode=1, epsilon=0.01>"), ("n", ""), ("n", "<epsilon=0.5>")],
)
def test_standardized_weights_are_weights(outputs, settings):
    model = network(standardized(outputs, settings), WEIGHTS)
    folded = fold_model(model)
    (row,) = folded.norms
    assert (row.pattern, row.norm.channels, len(row.into)) == ("bn of constants", 6, 1)
    assert batch_norms(folded.model) == []
    assert algebra_error(model) < ALGEBRA
    assert served_error(model, folded.model) < 2e-5
    assert fold_model(folded.model).rows == ()


def test_a_batch_norm_after_the_layer_goes_into_them_as_well():
    text = standardized("n, a, b", "<training_mode=1>").replace(
        "y = Relu(c)", "y = BatchNormalization(c, gamma, beta, mean, var)"
    )
    model = network(text, WEIGHTS)
    folded = fold_model(model)
    assert operators(folded.model) == ["Conv"]
    assert algebra_error(model) < ALGEBRA
    assert served_error(model, folded.model) < 2e-5


def test_statistics_of_weights_that_others_read_keep_it_with_a_row():
    text = standardized("n, a, b", "<training_mode=1>").replace(
        "y = Relu(c)", "z = Unsqueeze(a, axes) y = Add(c, z)"
    )
    model = network(text, WEIGHTS | {"axes": np.array([0, 2, 3])})
    (row,) = fold_model(model).norms
    assert row.reason == "it normalizes constants, and others read its statistics"


def test_a_variance_that_is_none_keeps_it_with_a_row():
    model = network(standardized("n", ""), WEIGHTS | {"var": np.full(6, -1, np.float32)})
    (row,) = fold_model(model).norms
    assert "running_var is -1, below zero" in row.reason
    assert len(batch_norms(fold_model(model).model)) == 1
