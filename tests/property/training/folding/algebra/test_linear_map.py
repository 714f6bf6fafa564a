"""What a layer absorbs is what stood before and behind it, for every shape, against torch."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from training.folding.algebra import linear_map
from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.linear_map import LinearMap

ROUNDING = 1e-11  # sums of at most 200 float64 products, each of a size of about 10
_FUNCTIONS = {
    ("conv", 1): functional.conv1d,
    ("conv", 2): functional.conv2d,
    ("conv", 3): functional.conv3d,
    ("conv_transpose", 1): functional.conv_transpose1d,
    ("conv_transpose", 2): functional.conv_transpose2d,
    ("conv_transpose", 3): functional.conv_transpose3d,
}
_every_shape = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def layers(draw, kinds=("conv", "conv_transpose", "dense")) -> LinearMap:
    """A layer with random weights; grouped, depthwise or neither."""
    kind = draw(st.sampled_from(kinds))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    groups, kernel = 1, ()
    if kind != "dense":
        groups = draw(st.integers(1, 4))
        kernel = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    rows, columns = (outputs, inputs) if kind != "conv_transpose" else (inputs, outputs)
    weight = rng.normal(size=(groups * rows, columns, *kernel))
    layer = LinearMap(kind, lambda: weight, weight.dtype, weight.shape, groups=groups)
    layer.strides = tuple(draw(st.integers(1, 2)) for _ in kernel)
    layer.dilations = tuple(draw(st.integers(1, 2)) for _ in kernel)
    if draw(st.booleans()):
        layer.bias = rng.normal(size=layer.channels_out)
    return layer


@st.composite
def maps(draw, channels: int) -> ChannelMap:
    """A map of `channels` channels, or one for any number; scales may be 0 or negative."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([1, channels]))
    scale = rng.normal(size=size) * rng.integers(0, 3, size)
    return ChannelMap(scale, rng.normal(size=size) * draw(st.integers(0, 1)))


def outputs_of(layer: LinearMap, x: np.ndarray) -> np.ndarray:
    weight = torch.from_numpy(layer.weight())
    bias = None if layer.bias is None else torch.from_numpy(layer.bias)
    x = torch.from_numpy(x)
    if layer.kind == "dense":
        return functional.linear(x, weight, bias).numpy()
    function = _FUNCTIONS[layer.kind, x.ndim - 2]
    settings = {"stride": layer.strides, "dilation": layer.dilations, "groups": layer.groups}
    return function(x, weight, bias, **settings).numpy()


def applied(map_: ChannelMap, x: np.ndarray, axis: int) -> np.ndarray:
    x = np.moveaxis(x, axis, -1)
    return np.moveaxis(x * map_.scale + map_.shift, -1, axis)


def input_of(layer: LinearMap, seed: int) -> np.ndarray:
    """(2, C, *S), or (2, 3, C) for a dense layer, larger than the kernel with its dilation."""
    sizes = (2, layer.channels_in, *(2 * size + 3 for size in layer.weight_shape[2:]))
    if layer.kind == "dense":
        sizes = (2, 3, layer.channels_in)
    return np.random.default_rng(seed).normal(size=sizes)


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left - right).max() / (1 + np.abs(left).max()))


@_every_shape
@given(st.data(), layers(), st.integers(0, 9))
def test_maps_behind_a_layer_become_the_layer(data, layer, seed):
    x, axis = input_of(layer, seed), -1 if layer.kind == "dense" else 1
    expected = outputs_of(layer, x)
    for _ in range(data.draw(st.integers(1, 3))):
        map_ = data.draw(maps(layer.channels_out))
        layer.check_backward(map_)
        layer.absorb_backward(map_)
        expected = applied(map_, expected, axis)
    assert distance(expected, outputs_of(layer, x)) < ROUNDING
    assert layer.changed


@_every_shape
@given(st.data(), layers(("conv", "dense")), st.integers(0, 9))
def test_maps_before_a_layer_without_padding_become_the_layer(data, layer, seed):
    x, axis = input_of(layer, seed), -1 if layer.kind == "dense" else 1
    in_a_row = [data.draw(maps(layer.channels_in)) for _ in range(data.draw(st.integers(1, 3)))]
    seen = x
    for map_ in in_a_row:
        seen = applied(map_, seen, axis)
    expected = outputs_of(layer, seen)
    for map_ in reversed(in_a_row):  # the nearest first
        layer.check_forward(map_)
        layer.absorb_forward(map_)
    assert distance(expected, outputs_of(layer, x)) < ROUNDING


@_every_shape
@given(st.data(), layers(("conv_transpose",)), st.integers(0, 9))
def test_a_scale_before_a_transposed_convolution_becomes_the_layer(data, layer, seed):
    x = input_of(layer, seed)
    map_ = data.draw(maps(layer.channels_in)).without_shift()
    expected = outputs_of(layer, applied(map_, x, 1))
    layer.check_forward(map_)
    layer.absorb_forward(map_)
    assert distance(expected, outputs_of(layer, x)) < ROUNDING


@_every_shape
@given(st.data(), layers(("conv", "dense")), st.integers(0, 9))
def test_a_layer_can_absorb_on_both_sides(data, layer, seed):
    x, axis = input_of(layer, seed), -1 if layer.kind == "dense" else 1
    before, behind = data.draw(maps(layer.channels_in)), data.draw(maps(layer.channels_out))
    expected = applied(behind, outputs_of(layer, applied(before, x, axis)), axis)
    for absorb in data.draw(
        st.permutations(
            [lambda: layer.absorb_forward(before), lambda: layer.absorb_backward(behind)]
        )
    ):
        absorb()
    assert distance(expected, outputs_of(layer, x)) < ROUNDING


@_every_shape
@given(st.data(), layers())
def test_a_private_copy_absorbs_alone(data, layer):
    layer.absorb_backward(data.draw(maps(layer.channels_out)))
    layer.shared = "another"
    weight, bias = layer.weight(), np.array(layer.bias)
    copy = layer.private_copy()
    np.testing.assert_array_equal(copy.weight(), weight)
    assert copy.shared is None
    copy.absorb_backward(ChannelMap(np.array([2.0]), np.array([1.0])))
    copy.absorb_forward(ChannelMap(np.array([3.0]), np.array([0.0])))
    np.testing.assert_array_equal(layer.weight(), weight)
    np.testing.assert_array_equal(layer.bias, bias)
    np.testing.assert_allclose(copy.weight(), 6 * weight, rtol=1e-15)


@_every_shape
@given(st.data(), layers(), st.integers(1, 20))
def test_rows_taken_a_few_at_a_time_are_the_same(data, layer, elements):
    behind, before = data.draw(maps(layer.channels_out)), data.draw(maps(layer.channels_in))

    def folded() -> LinearMap:
        one = layer.private_copy()
        one.check_forward(before)
        one.absorb_forward(before)
        one.absorb_backward(behind)
        return one

    whole = folded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_map, "CHUNK_ELEMENTS", elements)
        parts = folded()
        np.testing.assert_array_equal(whole.weight(), parts.weight())
        np.testing.assert_array_equal(whole.rounded_weight(), parts.rounded_weight())
    np.testing.assert_allclose(whole.bias, parts.bias, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("wrong", ["shift", "eps", "channel"])
def test_a_wrong_fold_is_seen(wrong):
    """The tolerance above tells a forgotten shift, eps or 1% of one channel."""
    rng = np.random.default_rng(0)
    weight, variance = rng.normal(size=(4, 3, 3)), np.array([1e-4, 1, 1, 1])
    layer = LinearMap("conv", lambda: weight, weight.dtype, weight.shape)
    layer.strides = layer.dilations = (1,)
    x = input_of(layer, 0)
    right = ChannelMap(1 / np.sqrt(variance + 1e-5), rng.normal(size=4))
    expected = applied(right, outputs_of(layer, x), 1)
    absorbed = {
        "shift": right.without_shift(),
        "eps": ChannelMap(1 / np.sqrt(variance), right.shift),
        "channel": ChannelMap(right.scale * [1, 1, 1.01, 1], right.shift),
    }[wrong]
    layer.absorb_backward(absorbed)
    assert distance(expected, outputs_of(layer, x)) > 1e6 * ROUNDING


def small_layer(dtype: object, value: float, bias: float = 0.0) -> LinearMap:
    weight = np.full((2, 2), value).astype(dtype)
    return LinearMap("dense", lambda: weight, weight.dtype, (2, 2), np.full(2, bias))


@pytest.mark.parametrize(("dtype", "top"), [(np.float16, 65504), (ml_dtypes.bfloat16, 3.3e38)])
def test_a_weight_that_would_overflow_its_type_is_refused(dtype, top):
    for check in ("check_backward", "check_forward"):
        layer = small_layer(dtype, 0.9 * top)
        map_ = ChannelMap(np.array([1.0, 1.2]), np.zeros(2))
        with pytest.raises(FoldRefused, match=r"a folded weight would be .*float16 ends at"):
            getattr(layer, check)(map_)
        getattr(layer, check)(ChannelMap(np.array([1.0, 1.05]), np.zeros(2)))
        assert not layer.changed


def test_a_bias_that_would_overflow_its_type_is_refused():
    layer = small_layer(np.float16, 1.0, bias=60000.0)
    with pytest.raises(FoldRefused, match=r"a folded bias would be 6\.6e\+04, and float16 ends"):
        layer.check_backward(ChannelMap(np.ones(1), np.array([6000.0])))
    with pytest.raises(FoldRefused, match=r"a folded bias would be 6\.6e\+04, and float16 ends"):
        layer.check_forward(ChannelMap(np.ones(1), np.array([3000.0])))
    layer.check_backward(ChannelMap(np.ones(1), np.array([5000.0])))


def test_an_overflow_that_a_second_map_undoes_is_none():
    layer = small_layer(np.float16, 100.0)
    layer.absorb_backward(ChannelMap(np.array([1e-3]), np.zeros(1)))
    layer.check_forward(ChannelMap(np.array([1e5]), np.zeros(1)))


def test_weights_that_are_not_finite_are_refused():
    layer = small_layer(np.float32, np.nan)
    with pytest.raises(FoldRefused, match=r"not all finite"):
        layer.check_backward(ChannelMap(np.array([0.5]), np.zeros(1)))


def test_another_number_of_channels_is_refused():
    layer = small_layer(np.float32, 1.0)
    with pytest.raises(FoldRefused, match=r"it has 3 channels, and there are 2 there"):
        layer.check_backward(ChannelMap(np.ones(3), np.zeros(3)))


def test_many_folds_round_once():
    """Factors that undo each other leave the very weights; rounded each time they would not."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 8)).astype(np.float16)
    layer = LinearMap("dense", lambda: weight, weight.dtype, weight.shape)
    each_time = weight
    for factor in (1.1, 1.3, 0.7, 1 / 1.1, 1 / 1.3, 1 / 0.7):
        layer.absorb_backward(ChannelMap(np.full(8, factor), np.zeros(8)))
        each_time = (each_time.astype(np.float64) * factor).astype(np.float16)
    np.testing.assert_array_equal(layer.rounded_weight(), weight)
    assert layer.rounded_weight().dtype == np.float16
    assert (each_time != weight).any()  # the negative control
