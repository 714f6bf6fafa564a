"""The planner: directions, all or nothing, and what it reports."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import KeptNorm, Linear, Maximum, Norm, Same, Value
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_against_the_flow_comes_first(build):
    y = build.norm(build.conv(build.source(2, 5), 2, name="c"))
    build.conv(y, 2, name="d")
    (row,), _ = difference(build)
    assert row.into == ("c",)


def test_with_the_flow_a_map_goes_into_every_reader(build):
    y = build.norm(build.relu(build.source(2, 5)))
    for name in "cde":
        build.conv(y, 2, name=name)
    (row,), distance = difference(build)
    assert row.into == ("c", "d", "e")
    assert distance < 1e-12


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_refused_fold_changes_nothing(build, place):
    """One reader of three is not linear, wherever it stands."""
    y = build.norm(build.relu(build.source(2, 5)))
    for number in range(3):
        if number == place:
            build.relu(y)
        else:
            build.conv(build.node(Same(), y), 2, 3, pad=1)
    nodes, links = list(build.graph.nodes), [list(node.inputs) for node in build.graph.nodes]
    (row,) = fold(build.done())
    assert not row.folded
    assert nodes == build.graph.nodes
    assert links == [node.inputs for node in nodes]
    assert not any(n.operation.map.changed for n in nodes if isinstance(n.operation, Linear))
    assert all(value.original_name == value.name for node in nodes for value in node.outputs)


def test_a_fold_makes_room_for_another(build):
    """The second batch norm can go once the first, which is no place for it, has gone."""
    y = build.constant(build.conv(build.source(2, 5), 2, name="c"), 0.5, 0)
    y = build.constant(y, 1, 0.25)
    build.norm(build.node(Maximum(), y), ChannelMap(np.array([1.0, 2.0]), np.ones(2)))
    rows, distance = difference(build)
    assert [row.into for row in rows] == [("c",)] * 3
    assert [row.is_norm for row in rows] == [False, False, True]
    assert distance < 1e-12


def test_rows_are_in_the_order_of_the_network(build):
    x = build.relu(build.source(2, 5))
    x = build.conv(build.norm(x, name="third fold"), 2, 1)
    x = build.norm(build.relu(x), name="refused")
    x = build.node(KeptNorm(Norm("kept", 2), "it is in train mode"), build.relu(x))
    build.norm(build.conv(x, 2, 1), name="first fold")
    rows = fold(build.done())
    assert [row.norm.name for row in rows] == ["third fold", "refused", "kept", "first fold"]
    assert [row.folded for row in rows] == [True, False, False, True]
    assert rows[2].reason == "it is in train mode"


def test_a_refusal_names_what_is_in_the_way_on_both_sides(build):
    x = build.node(Same(), build.relu(build.source(2, 5)), name="drop")
    build.relu(build.norm(x))
    (row,) = fold(build.done())
    assert row.reason == (
        "not into what comes before: the input of drop comes from opaque2 (Relu), which is not "
        "linear; nor into what follows: its output goes to opaque4 (Relu), which is not linear"
    )


def test_a_batch_norm_between_the_input_and_the_output_stays(build):
    build.norm(build.source(2, 5), name="b")
    (row,) = fold(build.done())
    assert row.reason == (
        "not into what comes before: its input, x1, is not the output of a layer; nor into what "
        "follows: its output is an output of the network"
    )


def test_a_batch_norm_that_nobody_reads_stays(build):
    y = build.norm(build.relu(build.source(2, 5)))
    build.done()
    y.is_output = False
    (row,) = fold(build.graph)
    assert "its output is not used" in row.reason


def test_an_output_of_the_network_may_come_from_a_folded_batch_norm(build):
    y = build.norm(build.conv(build.source(2, 5), 2))
    x = y.producer.inputs[0]
    (row,), distance = difference(build)
    assert row.folded
    assert x.is_output
    assert x.original_name == y.name
    assert distance < 1e-12


def test_a_layer_whose_output_is_one_of_the_network_stays(build):
    y = build.conv(build.source(2, 5), 2, name="c")
    build.norm(y)
    y.is_output = True
    (row,) = fold(build.done())
    assert "the output of c is also an output of the network; --clone gives" in row.reason


def test_the_second_output_of_a_node_is_not_the_first(build):
    x = build.conv(build.source(2, 5), 2, name="c")
    second = Value("second", x.shape, producer=x.producer)
    x.producer.outputs.append(second)
    build.norm(second)
    (row,) = fold(build.done())
    assert "second is not the first output of c" in row.reason


def test_folding_twice_is_folding_once(build):
    x = build.relu(build.source(2, 5))
    y = build.conv(build.norm(x), 2, 3, pad=1)
    fold(build.done())
    weight, nodes = y.producer.operation.map.weight(), list(build.graph.nodes)
    assert fold(build.graph) == []
    assert nodes == build.graph.nodes
    np.testing.assert_array_equal(weight, y.producer.operation.map.weight())


def test_a_witness_is_found_further_down_where_its_own_numbers_are_gone(build):
    """The first batch norm ends in a layer whose output later takes up the second."""
    x = build.relu(build.source(2, 5))
    y = build.conv(build.norm(x, name="a"), 2, 1)
    pooled = build.node(Maximum(), y)
    z = build.norm(pooled, ChannelMap(np.ones(2), np.ones(2)), name="b")
    rows, _ = difference(build)
    assert [row.folded for row in rows] == [True, True]
    assert y.original_name is None
    assert rows[0].probe is pooled
    assert pooled.original_name == z.name


def test_the_largest_scale_is_that_of_the_batch_norm_alone(build):
    y = build.norm(build.conv(build.source(2, 5), 2), ChannelMap(np.array([2, -3.0]), np.ones(2)))
    build.norm(y, ChannelMap(np.array([0.5, 0.25]), np.ones(2)))
    rows = fold(build.done())
    assert [row.largest_scale for row in rows] == [3.0, 0.5]


def test_long_chains_need_no_recursion(build):
    y = build.conv(build.source(1, 2), 1, 1, name="c")
    for _ in range(1500):
        y = build.node(Same(), y)
    build.norm(y)
    z = build.norm(build.relu(y))
    for _ in range(1500):
        z = build.node(Same(), z)
    build.conv(z, 1, 1, name="d")
    rows = fold(build.done())
    assert [row.folded for row in rows] == [False, True]  # `y` has two readers


def test_weights_are_read_a_few_times_however_many_maps_there_are(build):
    """Three: for the largest weight, for the shift and to be written; not once for each round."""
    reads = []
    y = build.norm(build.relu(build.source(2, 5)))
    layer = build.conv(y, 2, 1).producer.operation.map
    weight = layer.read_weight()
    layer.read_weight = lambda: reads.append(1) or weight
    x = build.relu(layer_output(build, layer))
    for _ in range(50):
        x = build.relu(build.norm(x))
    rows = fold(build.done())
    layer.rounded_weight()
    assert rows[0].folded
    assert len(reads) == 3


def layer_output(build: Builder, layer: object) -> Value:
    return next(
        node.output
        for node in build.graph.nodes
        if isinstance(node.operation, Linear) and node.operation.map is layer
    )
