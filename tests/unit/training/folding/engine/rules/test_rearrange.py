"""Channels that become features."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.algebra.reshaping import reshaped
from training.folding.engine.graph import Concat, Offset, Same, Sum
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_a_map_before_flattening_goes_into_the_dense_layer(build):
    x = build.relu(build.source(3, 2, 2))
    build.dense(build.flatten(build.norm(x)), 4, name="d")
    (row,), distance = difference(build)
    assert row.into == ("d",)
    assert distance < 1e-12


def test_a_map_of_the_features_goes_into_the_dense_layer_after_it(build):
    y = build.flatten(build.conv(build.source(3, 4), 2))
    build.dense(build.norm(y), 4, name="d")
    (row,), distance = difference(build)
    assert row.into == ("d",)
    assert distance < 1e-12


def test_a_map_of_the_features_that_differs_by_position_stays(build):
    y = build.flatten(build.conv(build.source(3, 4), 2))
    build.norm(y)
    (row,) = fold(build.done())
    assert "linear2 gets the channels on axes 1 and 2" in row.reason


def test_a_map_of_the_features_that_is_the_same_at_each_position_goes_back(build):
    y = build.flatten(build.conv(build.source(3, 4), 2, name="c"))
    build.norm(y, ChannelMap(np.array([2.0, 2, -1, -1]), np.array([1.0, 1, 0, 0])))
    (row,), distance = difference(build)
    assert row.into == ("c",)
    assert distance < 1e-12


def test_positions_are_repeated_not_interleaved(build):
    """The negative control: 1, 1, 2, 2 and not 1, 2, 1, 2."""
    x = build.relu(build.source(2, 2))
    map_ = ChannelMap(np.array([1.0, 5.0]), np.zeros(2))
    y = build.dense(build.flatten(build.norm(x, map_)), 3)
    layer = y.producer.operation.map
    as_it_was = layer.weight()
    fold(build.done())
    np.testing.assert_allclose(layer.weight(), as_it_was * [1, 1, 5, 5])
    assert np.abs(layer.weight() - as_it_was * [1, 5, 1, 5]).max() > 0.1


def test_unknown_sizes_are_refused(build):
    y = build.norm(build.relu(build.source(3, 2)))
    layout = reshaped(("N", 3, None), ("N", None))
    (z,) = build.moved(y, (layout,), lambda array: [array.reshape(2, -1)], name="flat")
    build.dense(z, 4)
    (row,) = fold(build.done())
    assert "flat moves numbers by sizes that are not known; export" in row.reason


def test_a_map_of_another_axis_is_followed_as_well(build):
    x = build.relu(build.source(3, 2))
    build.dense(build.flatten(build.norm(x, axis=2)), 4, name="d")
    (row,), distance = difference(build)
    assert row.into == ("d",)
    assert distance < 1e-12


@pytest.mark.parametrize("forward", [False, True])
def test_channels_on_two_axes_pass_what_lies_between(build, forward):
    """Grouped, then added, offset and joined along another axis, and made one axis again."""
    x = build.source(6, 4)
    grouped = []
    for _ in range(2):
        y = build.norm(build.relu(x), name="bn") if forward and not grouped else build.conv(x, 6, 1)
        grouped.append(build.reshape(y, 2, 2, 3, 4))
    if forward:
        grouped[1] = build.node(Same(), grouped[0])
    y = build.node(Sum(), *grouped)
    y = build.node(Offset(build.rng.normal(size=(1, 2, 1, 4)), np.dtype(np.float64)), y)
    y = build.node(Concat(3), y, build.node(Same(), y)) if forward else y
    y = build.reshape(build.transpose(y, 0, 2, 1, 3), 2, 6, y.shape[-1])
    y = build.conv(y, 2) if forward else build.norm(y)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-11


def test_channels_on_two_axes_are_not_joined_with_others(build):
    x = build.reshape(build.conv(build.source(6, 4), 6, 1), 2, 2, 3, 4)
    joined = build.node(Concat(1), x, build.relu(x), name="cat")
    build.norm(build.reshape(joined, 2, 12, 4))
    (row,) = fold(build.done())
    assert "cat gets the channels on axes 1 and 2" in row.reason
