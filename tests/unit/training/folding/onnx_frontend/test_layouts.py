"""Batch norms fold across every operator that only moves numbers, and stay where it mixes them."""

import numpy as np
import onnx_ir as ir
import pytest

from tests.onnx_networks import (
    ALGEBRA,
    NORM,
    algebra_error,
    batch_norms,
    layer,
    network,
    norm,
    operators,
    served_error,
)
from training.folding.onnx_frontend import fold_model

SERVED = 2e-5
IMAGE = "float[N,3,6,8] x"
TOKENS = "float[N,L,6] x"


def bn(x, name=""):
    return f"BatchNormalization({', '.join([x, *(name + key for key in NORM)])})"


def ints(**arrays):
    return {name: np.array(values, np.int64) for name, values in arrays.items()}


CONV = layer(8, 3, 3, 3) | layer(8, name="b")
DENSE = layer(6, 8)

FOLDED = {
    "LeViT: rows of all images, and back": (
        f"(float[N,4,6] x) => (float[] y) {{ p = MatMul(x, w) s = Shape(p) q = Reshape(p, rows) "
        f"t = {bn('q')} r = Reshape(t, s) y = Relu(r) }}",
        DENSE | norm(8) | ints(rows=[-1, 8]),
    ),
    "tokens, transposed and back": (
        f"({TOKENS}) => (float[] y) {{ p = MatMul(x, w) q = Transpose<perm=[0,2,1]>(p) "
        f"t = {bn('q')} y = Transpose<perm=[0,2,1]>(t) }}",
        DENSE | norm(8),
    ),
    "bn, transposed, dense": (
        f"(float[N,6,L] x) => (float[] y) {{ r = Relu(x) t = {bn('r')} "
        "q = Transpose<perm=[0,2,1]>(t) y = MatMul(q, w) }",
        DENSE | norm(6),
    ),
    "channels last, spelled out": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Transpose<perm=[0,2,3,1]>(p) "
        "s = Mul(q, gamma) t = Add(s, beta) y = Relu(t) }",
        CONV | norm(8),
    ),
    "DCGAN": (
        f"(float[N,6] x) => (float[] y) {{ p = Gemm(x, w) q = Reshape(p, shape) y = {bn('q')} }}",
        layer(6, 40) | norm(10) | ints(shape=[-1, 10, 2, 2]),
    ),
    "rows as images of one pixel": (
        f"(float[N,6] x) => (float[] y) {{ p = MatMul(x, w) q = Reshape(p, one) t = {bn('q')} "
        "y = Reshape(t, rows) }",
        DENSE | norm(8) | ints(one=[-1, 8, 1, 1], rows=[0, -1]),
    ),
    **{
        f"DepthToSpace {mode}": (
            f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) "
            f'q = DepthToSpace<blocksize=2, mode="{mode}">(p) y = {bn("q")} }}',
            CONV | norm(2),
        )
        for mode in ("DCR", "CRD")
    },
    **{
        f"bn, DepthToSpace {mode}": (
            f"(float[N,8,3,4] x) => (float[] y) {{ r = Relu(x) t = {bn('r')} "
            f'q = DepthToSpace<blocksize=2, mode="{mode}">(t) y = Conv(q, w) }}',
            layer(3, 2, 2, 2)
            | {
                key: np.tile(array, 4) if mode == "DCR" else array.repeat(4)
                for key, array in norm(2).items()
            },
        )
        for mode in ("DCR", "CRD")
    },
    "bn, SpaceToDepth, padded conv": (
        f"({IMAGE}) => (float[] y) {{ r = Relu(x) t = {bn('r')} q = SpaceToDepth<blocksize=2>(t) "
        "y = Conv<pads=[1,1,1,1]>(q, w) }",
        layer(4, 12, 3, 3) | norm(3),
    ),
    "SpaceToDepth, bn that is alike in each block": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = SpaceToDepth<blocksize=2>(p) "
        f"y = {bn('q')} }}",
        layer(3, 3, 1, 1) | {key: np.tile(array, 4) for key, array in norm(3).items()},
    ),
    "pixel shuffle, spelled out": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = Reshape(p, six) "
        f"r = Transpose<perm=[0,1,4,2,5,3]>(q) s = Reshape(r, four) y = {bn('s')} }}",
        layer(8, 3, 1, 1) | norm(2) | ints(six=[0, 2, 2, 2, 6, 8], four=[0, 2, 12, 16]),
    ),
    "channel shuffle": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Reshape(p, groups) "
        f"r = Transpose<perm=[0,2,1,3,4]>(q) s = Reshape(r, whole) y = {bn('s')} }}",
        CONV | norm(8) | ints(groups=[0, 2, 4, 4, 6], whole=[0, -1, 4, 6]),
    ),
    "bn, channel shuffle of free sizes": (
        f"(float[N,6,H,W] x) => (float[] y) {{ r = Relu(x) t = {bn('r')} s = Shape(t) "
        "n = Gather(s, zero) h = Gather(s, rest) g = Concat<axis=0>(n, groups, h) "
        "k = Reshape(t, g) j = Transpose<perm=[0,2,1,3,4]>(k) i = Reshape(j, s) y = Conv(i, w) }",
        layer(4, 6, 2, 2) | norm(6) | ints(zero=[0], rest=[2, 3], groups=[2, 3]),
    ),
    "split, a bn on each part": (
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) q, r = Split<axis=1>(p, sizes) "
        f"y = {bn('q', 'q')} z = {bn('r', 'r')} }}",
        CONV | norm(3, "q") | norm(5, "r", 4) | ints(sizes=[3, 5]),
    ),
    "split, a bn on one part": (
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) q, r = Split<axis=-3>(p) "
        f"y = Relu(q) z = {bn('r')} }}",
        CONV | norm(4),
    ),
    "bn, split, convs": (
        f"(float[N,8,6,6] x) => (float[] y, float[] z) {{ t = {bn('x')} "
        "q, r = Split<axis=1>(t, sizes) y = Conv(q, w) z = Conv<pads=[1,1,1,1]>(r, v) }",
        layer(2, 3, 3, 3) | layer(2, 5, 3, 3, name="v") | norm(8) | ints(sizes=[3, 5]),
    ),
    "slices of channels, each with a bn": (
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) q = Slice(p, zero, four, one) "
        f"r = Slice(p, four, end, one) y = {bn('q', 'q')} z = {bn('r', 'r')} }}",
        CONV | norm(4, "q") | norm(4, "r", 4) | ints(zero=[0], four=[4], end=[2**63 - 1], one=[1]),
    ),
    "every second pixel, from the end": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Slice(p, start, end, axes, steps) "
        f"y = {bn('q')} }}",
        CONV | norm(8) | ints(start=[-1, 1], end=[-(2**63), -1], axes=[2, 3], steps=[-2, 2]),
    ),
    "every second channel": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Slice(p, one, end, one, two) "
        f"y = {bn('q')} }}",
        CONV | norm(4) | ints(one=[1], two=[2], end=[100]),
    ),
    "a crop of free sizes": (
        f"(float[N,3,H,W] x) => (float[] y) {{ p = Conv(x, w, b) q = Slice(p, start, end, axes) "
        f"y = {bn('q')} }}",
        CONV | norm(8) | ints(start=[1, 1], end=[-1, -1], axes=[2, 3]),
    ),
    "channels in another order": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Gather<axis=1>(p, order) "
        f"y = {bn('q')} }}",
        CONV | norm(5) | ints(order=[7, 0, -3, 2, 1]),
    ),
    "bn, channels taken twice, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {bn('x')} q = Gather<axis=1>(t, order) y = Conv(q, w) }}",
        layer(4, 5, 3, 3) | norm(3) | ints(order=[2, 0, 0, 1, 2]),
    ),
    "the first token": (
        f"(float[N,5,6] x) => (float[] y) {{ p = MatMul(x, w) q = Gather<axis=1>(p, first) "
        f"y = {bn('q')} }}",
        DENSE | norm(8) | ints(first=0),
    ),
    "squeezed and unsqueezed": (
        f"(float[N,6] x) => (float[] y) {{ p = Gemm(x, w) q = Unsqueeze(p, last) t = {bn('q')} "
        "y = Squeeze(t, last) }",
        DENSE | norm(8) | ints(last=[-1]),
    ),
    "flattened from the back": (
        f"(float[N,4,6] x) => (float[] y) {{ p = MatMul(x, w) q = Flatten<axis=-1>(p) "
        f"y = {bn('q')} }}",
        DENSE | norm(8),
    ),
    **{
        f"repeated, {kind}": (
            f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) g = GlobalAveragePool(p) "
            f"q = {kind}(g, amounts) y = {bn('q')} }}",
            CONV | norm(8) | ints(amounts=[1, 1, 3, 2]),
        )
        for kind in ("Expand", "Tile")
    },
    "bn, channels repeated as a whole, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {bn('x')} q = Tile(t, amounts) y = Conv(q, w) }}",
        layer(4, 6, 3, 3) | norm(3) | ints(amounts=[1, 2, 1, 1]),
    ),
    "subtracted from a constant map": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Sub(map, p) y = {bn('q')} }}",
        CONV | norm(8) | layer(1, 8, 4, 6, name="map"),
    ),
    "negated": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Neg(p) y = {bn('q')} }}",
        CONV | norm(8),
    ),
    "resized to a computed size": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) a = Conv<strides=[2,2]>(x, v) "
        's = Shape(p) q = Resize<mode="linear">(a, , , s) r = Add(q, p) '
        f"y = {bn('r')} }}",
        CONV | layer(8, 3, 3, 3, name="v", seed=3) | norm(8),
    ),
    "resized, cubic": (
        f'({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Resize<mode="cubic">(p, , scales) '
        f"y = {bn('q')} }}",
        CONV | norm(8) | {"scales": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    **{
        f"a constant map, {kind}": (
            f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = {kind}(p, map) y = {bn('q')} }}",
            CONV | norm(8) | layer(1, 8, 4, 6, name="map"),
        )
        for kind in ("Add", "Sub")
    },
    "bn, a constant map, conv": (
        f"({IMAGE}) => (float[] y) {{ t = {bn('x')} q = Add(map, t) y = Conv(q, w, b) }}",
        CONV | norm(3) | layer(3, 6, 8, name="map"),
    ),
    "a constant map of all channels": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Add(p, map) y = {bn('q')} }}",
        CONV | norm(8) | layer(4, 6, name="map"),
    ),
    "RepMixer": (
        "(float[N,4,7,6] x) => (float[] y) { p = Conv<group=4, pads=[1,1,1,1]>(x, w) "
        f"a = {bn('p', 'a')} b = {bn('x')} d = Sub(a, b) g = Mul(scale, d) y = Add(x, g) }}",
        layer(4, 1, 3, 3) | norm(4, "a", 3) | norm(4) | layer(4, 1, 1, name="scale"),
    ),
    "a difference of convs": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Conv(x, v) d = Sub(p, q) "
        f"y = {bn('d')} }}",
        CONV | layer(8, 3, 3, 3, name="v", seed=3) | norm(8),
    ),
    "ACNet": (
        f"({IMAGE}) => (float[] y) {{ p = Conv<pads=[1,1,1,1]>(x, w, b) "
        "q = Conv<pads=[1,0,1,0]>(x, v) r = Conv<pads=[0,1,0,1]>(x, u) "
        f"a = {bn('p', 'a')} c = {bn('q', 'c')} d = {bn('r')} e = Add(a, c) y = Add(e, d) }}",
        CONV
        | layer(8, 3, 3, 1, name="v")
        | layer(8, 3, 1, 3, name="u")
        | norm(8, "a", 3)
        | norm(8, "c", 4)
        | norm(8),
    ),
}


@pytest.mark.parametrize("pattern", FOLDED)
def test_the_pattern_is_folded_exactly(pattern):
    model = network(*FOLDED[pattern])

    folded = fold_model(model)

    assert batch_norms(folded.model) == []
    assert not {"Sub", "Neg"} & set(operators(folded.model))
    assert all(row.folded and row.into for row in folded.rows)
    assert algebra_error(model) < ALGEBRA
    assert served_error(model, folded.model) < SERVED
    assert fold_model(folded.model).rows == ()


KEPT = {
    "a reshape that has nothing in common": (
        f"(float[N,3,6] x) => (float[] y) {{ p = MatMul(x, w) q = Reshape(p, shape) "
        f"y = {bn('q')} }}",
        layer(6, 8) | norm(8) | ints(shape=[0, 8, 3]),
        "q mixes the channels with others",
    ),
    "a reshape that looks like a transposition": (
        f"(float[N,4,6] x) => (float[] y) {{ p = MatMul(x, w) q = Reshape(p, shape) "
        f"y = {bn('q')} }}",
        layer(6, 8) | norm(8) | ints(shape=[0, 8, 4]),
        "p gets the channels on axes 1 and 2",
    ),
    "channels of another axis": (
        f"({TOKENS}) => (float[] y) {{ p = MatMul(x, w) q = Transpose<perm=[0,2,1]>(p) "
        f"r = Transpose<perm=[2,1,0]>(q) s = Reshape(r, shape) y = {bn('s')} }}",
        layer(6, 8) | norm(8) | ints(shape=[-1, 8]),
        "s moves numbers by sizes that are not known",
    ),
    "a bn that differs within a channel": (
        f"(float[N,3,2,2] x) => (float[] y) {{ p = Conv(x, w) q = Flatten(p) y = {bn('q')} }}",
        layer(2, 3, 1, 1) | norm(8),
        "gets the channels on axes 1 and 2 and 3",
    ),
    "a bn that differs within a block": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = SpaceToDepth<blocksize=2>(p) "
        f"y = {bn('q')} }}",
        layer(3, 3, 1, 1) | norm(12),
        "gets the channels on axes 1 and 2 and 3",
    ),
    "a number of positions that is not known": (
        f"(float[N,3,H,W] x) => (float[] y) {{ r = Relu(x) t = {bn('r')} q = Reshape(t, shape) "
        "y = MatMul(q, w) }",
        layer(24, 2) | norm(3) | ints(shape=[-1, 24]),
        "export the network with fixed sizes",
    ),
    "overlapping slices": (
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) q = Slice(p, zero, five, one) "
        f"r = Slice(p, four, end, one) z = Relu(q) y = {bn('r')} }}",
        CONV | norm(4) | ints(zero=[0], five=[5], four=[4], end=[8], one=[1]),
        "is read 2 times",
    ),
    "a channel that is taken twice": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) q = Gather<axis=1>(p, order) "
        f"y = {bn('q')} }}",
        CONV | norm(3) | ints(order=[1, 1, 2]),
        "takes a channel twice, with different scales or shifts",
    ),
    "halves of an image, one with a bn": (
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) q, r = Split<axis=2>(p) "
        f"y = {bn('q')} z = Relu(r) }}",
        CONV | norm(8),
        "gets the channels on axes 1 and 2",
    ),
    "one channel, expanded to many": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w) q = Expand(p, amounts) y = {bn('q')} }}",
        layer(1, 3, 3, 3) | norm(8) | ints(amounts=[1, 8, 1, 1]),
        "q mixes the channels with others",
    ),
    "channels that are chosen at run time": (
        f"({IMAGE}, int64[4] which) => (float[] y) {{ p = Conv(x, w, b) "
        f"q = Gather<axis=1>(p, which) y = {bn('q')} }}",
        CONV | norm(4),
        "(Gather)",
    ),
    "a constant map past a scale of zero": (
        f"({IMAGE}) => (float[] y) {{ t = {bn('x')} q = Add(map, t) y = Conv(q, w, b) }}",
        CONV | norm(3) | {"gamma": np.array([1, 0, 2], np.float32)} | layer(3, 6, 8, name="map"),
        "the scale is zero in channel 1",
    ),
    "CReLU": (
        f"({IMAGE}) => (float[] y) {{ p = Conv(x, w, b) n = Neg(p) q = Concat<axis=1>(p, n) "
        f"t = {bn('q')} y = Relu(t) }}",
        CONV | norm(16),
        "is read 2 times; --clone gives the batch norm a copy",
    ),
}


@pytest.mark.parametrize("pattern", KEPT)
def test_what_mixes_the_channels_keeps_the_batch_norm(pattern):
    text, weights, reason = KEPT[pattern]
    model = network(text, weights)
    folded = fold_model(model)
    (row,) = folded.norms
    assert reason in str(row.reason)
    assert len(batch_norms(folded.model)) == 1
    assert algebra_error(model) < ALGEBRA


def test_two_signs_of_a_layer_are_two_layers_where_copies_are_allowed():
    model = network(*KEPT["CReLU"][:2])
    folded = fold_model(model, clones=True)
    assert operators(folded.model) == ["Conv", "Conv", "Concat", "Relu"]
    assert algebra_error(model, clones=True) < ALGEBRA
    assert served_error(model, folded.model) < SERVED


def test_parallel_kernels_of_three_shapes_become_one():
    folded = fold_model(network(*FOLDED["ACNet"]))
    assert operators(folded.model) == ["Conv"]


@pytest.mark.parametrize(
    "text",
    [
        "r = Relu(x) s = Sigmoid(x) d = Sub(r, s) y = Relu(d)",
        "p = Conv(x, w, b) q = Conv(x, v) y = Sub(p, q)",  # signs alone are worth no change
        f"r = Relu(x) t = {bn('r')} z = Relu(t) s = Sigmoid(z) y = Sub(r, s)",
    ],
)
def test_a_difference_that_nothing_goes_into_is_left_as_it_was(text):
    weights = CONV | layer(8, 3, 3, 3, name="v") | norm(3)
    model = network(f"({IMAGE}) => (float[] y) {{ {text} }}", weights)
    folded = fold_model(model).model
    assert ir.to_proto(folded).graph.node == ir.to_proto(model).graph.node


def test_copies_are_for_batch_norms_and_not_for_constants():
    model = network(
        f"({IMAGE}) => (float[] y, float[] z) {{ p = Conv(x, w, b) y = Neg(p) z = Relu(p) }}", CONV
    )
    assert operators(fold_model(model, clones=True).model) == ["Conv", "Neg", "Relu"]


SPELLED = "(float[N,3,6,8] x) => (float[] y) { r = Relu(x) "


@pytest.mark.parametrize(
    "steps",
    ["s = Mul(r, gamma) t = Add(s, beta)", "c = Sub(r, mean) s = Div(c, var) t = Add(s, beta)"],
)
def test_a_batch_norm_that_is_spelled_out_and_stays_is_listed(steps):
    vectors = {key: array.reshape(3, 1, 1) for key, array in norm(3).items()}
    folded = fold_model(network(f"{SPELLED} {steps} y = Relu(t) }}", vectors))
    (row,) = folded.rows
    assert (row.norm.channels, row.is_norm, folded.norms) == (3, False, ())
    assert row.reason == (
        "not into what comes before: its input comes from r (Relu), which is not linear; "
        "nor into what follows: its output goes to y (Relu), which is not linear"
    )


def test_a_scale_that_stays_alone_is_no_batch_norm():
    vector = {"gamma": norm(3)["gamma"].reshape(3, 1, 1)}
    assert fold_model(network(f"{SPELLED} t = Mul(r, gamma) y = Relu(t) }}", vector)).rows == ()


def test_a_size_of_minus_one_is_a_free_one():
    """As Paddle2ONNX writes it: two of them may be of different sizes."""
    model = network(
        f"(float[N,3,L] x) => (float[] y) {{ r = Relu(x) t = {bn('r')} q = Reshape(t, shape) "
        "y = MatMul(q, w) }",
        layer(24, 2) | norm(3) | ints(shape=[-1, 24]),
    )
    model.graph.inputs[0].shape = ir.Shape([-1, 3, -1])
    (row,) = fold_model(model).norms
    assert "export the network with fixed sizes" in str(row.reason)
