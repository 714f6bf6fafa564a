"""Sums and concatenations."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import Average, Concat, Same, Sum
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def refusal(build: Builder) -> str:
    (row,) = fold(build.done())
    assert row.reason is not None
    return row.reason


@pytest.mark.parametrize("kind", [Sum(), Concat(1), Concat(2)])
def test_a_map_after_branches_enters_all_of_them(build, kind):
    x, z = build.source(2, 5), build.source(2, 5)
    joined = build.node(kind, build.conv(x, 3, name="c"), build.conv(z, 3, name="d"))
    build.norm(joined)
    (row,), distance = difference(build)
    assert row.into == ("c", "d")
    assert distance < 1e-12


@pytest.mark.parametrize("kind", [Sum(), Concat(1)])
def test_one_branch_that_is_not_linear_stops_all(build, kind):
    x = build.source(3, 5)
    y = build.conv(x, 3, 1)
    build.norm(build.node(kind, y, build.relu(x)))
    assert "comes from opaque3 (Relu), which is not linear" in refusal(build)
    assert not y.producer.operation.map.changed


def test_the_shift_goes_into_a_branch_that_can_take_it(build):
    x, z = build.source(2, 5), build.source(2, 5)
    pooled = build.node(Average(attenuates=True), build.conv(x, 3, 1))
    build.norm(build.node(Sum(), pooled, build.conv(z, 3, 1)))
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_a_sum_that_broadcasts_channels_is_left_alone(build):
    x, z = build.source(3, 5), build.source(3, 5)
    y = build.node(Sum(), build.conv(x, 1, 1), build.conv(z, 3, 1), name="add")
    build.norm(y)
    assert "add adds tensors with different channels" in refusal(build)


def test_a_sum_of_different_ranks_is_left_alone(build):
    """The channels of one are not in line with those of the other."""
    x, z = build.source(2, 2), build.source(2, 2, 2)
    y = build.node(Sum(), build.conv(x, 2, 1), build.conv(z, 2, 1), name="add")
    build.norm(y)
    assert "add adds tensors with different channels" in refusal(build)


def test_a_sum_that_broadcasts_other_axes_takes_a_map(build):
    """A gate of one place added to all places, before and after a map."""
    x, z = build.source(3, 5), build.source(3, 5)
    one = build.conv(z, 3, 5)  # (2, 3, 1)
    build.norm(build.node(Sum(), one, build.conv(x, 3, 1)))
    shifted = build.norm(build.relu(one), ChannelMap(np.ones(3), np.arange(3.0)))
    build.conv(build.node(Sum(), shifted, x), 2, 1)
    build.graph.clones = True
    rows, distance = difference(build)
    assert all(row.folded for row in rows)
    assert distance < 1e-12


def test_a_sum_of_unknown_shapes_is_trusted_to_the_layers(build):
    x, z = build.source(3, 5), build.source(3, 5)
    layers = build.conv(x, 3, 1), build.conv(z, 3, 1)
    build.norm(build.node(Sum(), *layers))
    layers[0].shape = layers[1].shape = None
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_a_sum_of_a_value_with_itself_is_not_folded_twice(build):
    y = build.conv(build.source(2, 5), 2, name="c")
    build.norm(build.node(Sum(), y, y))
    assert "the output of c is read 2 times" in refusal(build)


def test_a_copy_for_each_use_of_a_value_that_is_added_to_itself(build):
    y = build.conv(build.source(2, 5), 2)
    build.norm(build.node(Sum(), y, y))
    build.graph.clones = True
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_a_scale_does_not_pass_a_sum_with_the_flow(build):
    x = build.relu(build.source(2, 5))
    y = build.norm(x)
    build.conv(build.node(Sum(), y, x, name="add"), 2, 1)
    assert "add adds something else to it, which it must not scale" in refusal(build)


@pytest.mark.parametrize("twice", [False, True])
def test_a_shift_passes_a_sum_with_the_flow(build, twice):
    x = build.relu(build.source(2, 5))
    y = build.norm(x, ChannelMap(np.ones(2), np.array([1.0, -2.0])))
    build.conv(build.node(Sum(), y, y if twice else x), 2, 1)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


@pytest.mark.parametrize("twice", [False, True])
def test_a_map_before_a_concatenation_goes_on_for_its_channels(build, twice):
    """Concat to batch norm of DenseNet, the other way round."""
    x, z = build.relu(build.source(2, 5)), build.relu(build.source(3, 5))
    y = build.norm(x)
    joined = build.node(Concat(1), z, y, y) if twice else build.node(Concat(1), z, y)
    build.conv(joined, 2, 3, pad=1, name="c")
    (row,), distance = difference(build)
    assert row.into == ("c",)
    assert distance < 1e-12


def test_places_joined_with_others_of_the_same_channels_are_refused(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.node(Concat(2), build.norm(x), x, name="cat"), 2, 1)
    assert "cat joins it with something else that has the same channels" in refusal(build)


def test_branches_of_unknown_size_are_refused(build):
    x, z = build.source(2, 5), build.source(2, 5)
    y = build.conv(x, 3, 1)
    build.norm(build.node(Concat(1), y, build.conv(z, 3, 1), name="cat"))
    y.shape = (2, None, 5)
    assert "cat joins branches of unknown size" in refusal(build)


def test_two_ways_to_one_layer_are_one_map(build):
    """Each by itself would pad the border for one of them only."""
    y = build.norm(build.relu(build.source(2, 5)))
    ways = [build.node(Same(), y) for _ in range(2)]
    build.conv(build.node(Concat(1), *ways, name="cat"), 2, 3, pad=1)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_sum_of_one_thing_with_itself_is_scaled_as_a_whole(build, elsewhere):
    y = build.norm(build.relu(build.source(2, 5)))
    other = build.relu(y) if elsewhere else build.node(Same(), y)
    build.conv(build.node(Sum(), y, other, y, name="add"), 2)
    if elsewhere:
        assert "its output goes to" in refusal(build)
    else:
        (row,), distance = difference(build)
        assert row.folded
        assert distance < 1e-12


def test_a_scale_of_one_branch_does_not_pass_a_sum(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.node(Sum(), build.norm(x), x, name="add"), 2)
    assert "add adds something else to it, which it must not scale" in refusal(build)


def test_all_joined_branches_with_one_map_keep_it(build):
    y = build.norm(build.relu(build.source(2, 5)))
    build.conv(build.node(Concat(2), y, build.node(Same(), y)), 2)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_two_maps_of_one_input_both_go(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.norm(x), 2, 3, pad=1)
    build.conv(build.norm(x), 2, 3, pad=1)
    rows, distance = difference(build)
    assert all(row.folded for row in rows)
    assert distance < 1e-12
