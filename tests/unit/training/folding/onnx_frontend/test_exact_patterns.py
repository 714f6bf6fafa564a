"""Every pattern of batch norms that ONNX can express and that folds exactly.

Each is folded whole, equals the original in float64 to rounding, and runs in onnxruntime.
"""

import numpy as np
import pytest

from tests.onnx_networks import (
    ALGEBRA,
    algebra_error,
    batch_norms,
    layer,
    network,
    norm,
    served_error,
)
from training.folding.onnx_frontend.folded_model import fold_model

SERVED = 2e-5  # a few float32 roundings, each amplified by scales up to 170
BN = "BatchNormalization({x}, gamma, beta, mean, var)"
BN_T = BN.format(x="t")


def _affine(shape):
    """Return a scale and a shift of one shape."""
    rng = np.random.default_rng(7)
    return {
        "s": rng.uniform(0.5, 2, shape).astype(np.float32),
        "c": rng.normal(size=shape).astype(np.float32),
    }


CONV, GROUPED, DEPTHWISE = layer(4, 3, 3, 3), layer(4, 2, 3, 3), layer(4, 1, 3, 3)
TRANSPOSED, DENSE = layer(4, 2, 3, 3), layer(6, 5)
BIAS4, BIAS5 = layer(4, name="b"), layer(5, name="b")
IMAGE, FOUR, VECTOR = "float[N,3,7,6] x", "float[N,4,7,6] x", "float[N,6] x"

FOLDED = {
    "conv 1-D": (
        f"(float[N,3,9] x) => (float[] y) {{ t = Conv(x, w) y = {BN_T} }}",
        layer(4, 3, 3) | norm(4),
    ),
    "conv 2-D": (f"({IMAGE}) => (float[] y) {{ t = Conv(x, w) y = {BN_T} }}", CONV | norm(4)),
    "conv 3-D": (
        f"(float[N,3,4,5,4] x) => (float[] y) {{ t = Conv<pads=[1,1,1,1,1,1]>(x, w) y = {BN_T} }}",
        layer(4, 3, 3, 3, 3) | norm(4),
    ),
    "conv with a bias": (
        f"({IMAGE}) => (float[] y) {{ t = Conv<pads=[1,1,1,1]>(x, w, b) y = {BN_T} }}",
        CONV | BIAS4 | norm(4),
    ),
    "grouped conv": (
        f"({FOUR}) => (float[] y) {{ t = Conv<group=2, strides=[2,1]>(x, w) y = {BN_T} }}",
        GROUPED | norm(4),
    ),
    "depthwise conv": (
        f"({FOUR}) => (float[] y) {{ t = Conv<group=4, dilations=[2,1]>(x, w) y = {BN_T} }}",
        DEPTHWISE | norm(4),
    ),
    "conv with auto_pad": (
        f'({IMAGE}) => (float[] y) {{ t = Conv<auto_pad="SAME_UPPER">(x, w) y = {BN_T} }}',
        CONV | norm(4),
    ),
    "transposed conv": (
        f"({FOUR}) => (float[] y) {{ t = ConvTranspose<strides=[2,2]>(x, w) y = {BN_T} }}",
        layer(4, 3, 3, 3) | norm(3),
    ),
    "transposed conv, groups": (
        f"({FOUR}) => (float[] y) {{ t = ConvTranspose<group=2, strides=[2,1]>(x, w, b) "
        f"y = {BN_T} }}",
        TRANSPOSED | BIAS4 | norm(4),
    ),
    "transposed conv, output_shape": (
        f"({FOUR}) => (float[] y) {{ t = ConvTranspose<strides=[2,2], output_shape=[13,12]>(x, w) "
        f"y = {BN_T} }}",
        layer(4, 3, 3, 3) | norm(3),
    ),
    "gemm": (
        f"({VECTOR}) => (float[] y) {{ t = Gemm(x, w, b) y = {BN_T} }}",
        DENSE | BIAS5 | norm(5),
    ),
    "gemm without bias": (
        f"({VECTOR}) => (float[] y) {{ t = Gemm(x, w) y = {BN_T} }}",
        DENSE | norm(5),
    ),
    "gemm with a number for a bias": (
        f"({VECTOR}) => (float[] y) {{ t = Gemm<beta=0.5>(x, w, b) y = {BN_T} }}",
        DENSE | {"b": np.float32(1.5)} | norm(5),
    ),
    "onnxscript 3027: gemm with alpha and beta": (
        f"({VECTOR}) => (float[] y) {{ t = Gemm<alpha=0.7, beta=1.6, transB=1>(x, w, b) "
        f"y = {BN_T} }}",
        layer(5, 6) | BIAS5 | norm(5),
    ),
    "matmul of rank 2": (
        f"({VECTOR}) => (float[] y) {{ t = MatMul(x, w) y = {BN_T} }}",
        DENSE | norm(5),
    ),
    "matmul and a bias": (
        f"({VECTOR}) => (float[] y) {{ m = MatMul(x, w) t = Add(b, m) y = {BN_T} }}",
        DENSE | BIAS5 | norm(5),
    ),
    "bn, conv without padding": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} y = Conv(t, w, b) }}",
        CONV | BIAS4 | norm(3),
    ),
    "bn, grouped conv": (
        f"({FOUR}) => (float[] y) {{ t = {BN.format(x='x')} y = Conv<group=2>(t, w) }}",
        GROUPED | norm(4),
    ),
    **{
        f"bn, {mode} padding, conv": (
            f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} "
            f'p = Pad<mode="{mode}">(t, pads) y = Conv(p, w) }}',
            CONV | norm(3) | {"pads": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
        )
        for mode in ("reflect", "edge")
    },
    "bn, wrapped padding, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} "
        'p = Pad<mode="wrap">(t, pads) y = Conv(p, w) }',
        CONV | norm(3) | {"pads": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
        19,
    ),
    "bn, zero padding of a node, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} p = Pad(t, pads) y = Conv(p, w) }}",
        CONV | norm(3) | {"pads": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
    ),
    "bn, zero padding, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} "
        "y = Conv<pads=[1,0,2,1], strides=[2,2]>(t, w) }",
        CONV | norm(3),
    ),
    "bn, zero padding, conv, free sizes": (
        f"(float[N,3,H,W] x) => (float[] y) {{ t = {BN.format(x='x')} "
        "y = Conv<pads=[1,1,1,1]>(t, w) }",
        CONV | norm(3),
    ),
    "bn, zero padding, conv, opset 9": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} y = Conv<pads=[1,1,1,1]>(t, w) }}",
        CONV | norm(3),
        9,
    ),
    "bn, conv with auto_pad": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} "
        'y = Conv<auto_pad="SAME_LOWER", dilations=[1,2]>(t, w) }',
        layer(4, 3, 2, 3) | norm(3),
    ),
    "bn, conv with auto_pad and strides": (
        f"({IMAGE}) => (float[] y) {{ t = {BN.format(x='x')} "
        'y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(t, w) }',
        CONV | norm(3),
    ),
    "bn, gemm": (
        f"({VECTOR}) => (float[] y) {{ t = {BN.format(x='x')} y = Gemm(t, w, b) }}",
        DENSE | BIAS5 | norm(6),
    ),
    "bn, matmul": (
        f"({VECTOR}) => (float[] y) {{ t = {BN.format(x='x')} y = MatMul(t, w) }}",
        DENSE | norm(6),
    ),
    "bn, relu, gemm keeps the relu": (
        f"({VECTOR}) => (float[] y) {{ r = Relu(x) t = BatchNormalization(r, gamma, beta, mean, "
        "var) y = Gemm(t, w) }",
        DENSE | norm(6),
    ),
    "conv, max pool, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) "
        f"t = MaxPool<kernel_shape=[2,2], pads=[1,1,0,0]>(p) y = {BN_T} }}",
        CONV | norm(4, positive=True),
    ),
    "conv, average pool, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) "
        f"t = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(p) y = {BN_T} }}",
        CONV | norm(4),
    ),
    "conv, global average, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) t = GlobalAveragePool(p) y = {BN_T} }}",
        CONV | norm(4),
    ),
    "conv, mean, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) t = ReduceMean<axes=[2,-1], keepdims=0>(p) "
        f"y = {BN_T} }}",
        CONV | norm(4),
    ),
    "conv, upsampling, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) "
        f't = Resize<mode="linear">(p, , scales) y = {BN_T} }}',
        CONV | norm(4) | {"scales": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "bn, flatten, gemm": (
        f"(float[N,3,2,2] x) => (float[] y) {{ t = {BN.format(x='x')} f = Flatten(t) "
        "y = Gemm(f, w) }",
        layer(12, 5) | norm(3),
    ),
    "bn, reshape, gemm": (
        f"(float[N,3,2,2] x) => (float[] y) {{ t = {BN.format(x='x')} f = Reshape(t, shape) "
        "y = Gemm(f, w) }",
        layer(12, 5) | norm(3) | {"shape": np.array([0, -1])},
    ),
    "bn behind flatten, gemm": (
        f"(float[N,3,2,2] x) => (float[] y) {{ t = Flatten(x) u = {BN_T} y = Gemm(u, w) }}",
        layer(12, 5) | norm(12),
    ),
    "conv, squeeze, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) g = GlobalAveragePool(p) "
        f"t = Squeeze(g, axes) y = {BN_T} }}",
        CONV | norm(4) | {"axes": np.array([2, 3])},
    ),
    "gemm, unsqueeze, bn": (
        f"({VECTOR}) => (float[] y) {{ p = Gemm(x, w) t = Unsqueeze(p, axes) y = {BN_T} }}",
        DENSE | norm(5) | {"axes": np.array([2, -1])},
    ),
    "conv, identity, dropout, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) i = Identity(p) t = Dropout(i) y = {BN_T} }}",
        CONV | norm(4),
    ),
    "two convs added, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = Conv(x, v, b) t = Add(p, q) y = {BN_T} }}",
        CONV | layer(4, 3, 3, 3, name="v", seed=3) | BIAS4 | norm(4),
    ),
    "two convs side by side, bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = Conv(x, v) t = Concat<axis=1>(p, q) "
        f"y = {BN_T} }}",
        CONV | layer(2, 3, 3, 3, name="v") | norm(6),
    ),
    "bn over bn": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) "
        f"t = BatchNormalization(p, agamma, abeta, amean, avar) y = {BN_T} }}",
        CONV | norm(4) | norm(4, "a", 5),
    ),
    "RepVGG": (
        "(float[N,4,7,6] x) => (float[] y) { p = Conv<pads=[1,1,1,1]>(x, w) q = Conv(x, v) "
        "a = BatchNormalization(p, agamma, abeta, amean, avar) "
        "b = BatchNormalization(q, bgamma, bbeta, bmean, bvar) "
        f"i = {BN.format(x='x')} ab = Add(a, b) y = Add(ab, i) }}",
        layer(4, 4, 3, 3) | layer(4, 4, 1, 1, name="v") | norm(4, "a") | norm(4, "b", 2) | norm(4),
    ),
    "a shape is read between": (
        f"({IMAGE}) => (float[] y, int64[] n) {{ t = Conv(x, w) y = {BN_T} n = Shape(t) }}",
        CONV | norm(4),
    ),
    "one bn for two convs": (
        f"({IMAGE}) => (float[] y, float[] z) {{ t = Conv(x, w) u = Conv(x, v) y = {BN_T} "
        f"z = {BN.format(x='u')} }}",
        CONV | layer(4, 3, 3, 3, name="v", seed=3) | norm(4),
    ),
    "one bias for two convs": (
        f"({IMAGE}) => (float[] y, float[] u) {{ t = Conv(x, w, b) u = Conv(x, v, b) y = {BN_T} }}",
        CONV | layer(4, 3, 3, 3, name="v", seed=3) | BIAS4 | norm(4),
    ),
}


@pytest.mark.parametrize("pattern", FOLDED)
def test_the_pattern_is_folded_exactly(pattern):
    model = network(*FOLDED[pattern][:2], opset=(*FOLDED[pattern], 17)[2])

    folded = fold_model(model)

    assert batch_norms(model)
    assert batch_norms(folded.model) == []
    assert all(row.folded and row.into for row in folded.norms)
    assert algebra_error(model) < ALGEBRA
    assert served_error(model, folded.model) < SERVED
    assert fold_model(folded.model).rows == ()
