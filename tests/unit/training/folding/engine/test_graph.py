"""Edits of the graph leave producers, consumers and names in order."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import BorderPad, Concat, Graph, Opaque, Sum


def check_links(graph: Graph) -> None:
    """Each value knows who reads it, once for each use, and each node stands behind its inputs."""
    seen = set()
    for node in graph.nodes:
        for value in node.inputs:
            assert value.consumers.count(node) == node.inputs.count(value)
            assert value.producer is None or value.producer in seen
        seen.add(node)
        assert all(value.producer is node for value in node.outputs)
        for value in node.outputs:
            assert all(value in consumer.inputs for consumer in value.consumers)
    names = [node.name for node in graph.nodes]
    assert len(names) == len(set(names))


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_a_bypassed_node_hands_on_every_use_and_being_an_output(build):
    x = build.relu(build.source(3, 4))
    y = build.norm(x)
    both = build.node(Sum(), y, y)
    y.is_output = True
    build.graph.bypass(y.producer)
    assert both.producer.inputs == [x, x]
    assert x.is_output
    assert y.original_name is None
    assert [node.name for node in build.graph.bypassed] == ["bn3"]
    check_links(build.graph)


def test_a_copy_takes_one_use_at_a_time(build):
    x = build.conv(build.source(3, 4), 2)
    both = build.node(Concat(1), x, x).producer
    copy = build.graph.clone(x.producer, both)
    assert both.inputs == [copy.output, x]
    assert copy.clone_of is x.producer
    assert copy.operation.map is not x.producer.operation.map
    check_links(build.graph)
    another = build.graph.clone(x.producer, both)
    assert both.inputs == [copy.output, another.output]
    check_links(build.graph)


def test_new_names_are_free(build):
    x = build.source(3, 4)
    y = build.conv(x, 2, name="c")
    taken = build.node(Opaque("Relu"), y, name="c_copy")
    both = build.node(Concat(1), y, y).producer
    names = [build.graph.clone(y.producer, both).name for _ in range(2)]
    assert names == ["c_copy_2", "c_copy_3"]
    assert taken.producer.name == "c_copy"


def test_a_border_stands_before_its_layer_alone(build):
    x = build.source(3, 4)
    y, z = build.conv(x, 2), build.relu(x)
    border = build.graph.insert_before(y.producer, BorderPad(((1, 2),), np.zeros(3)))
    assert y.producer.inputs == [border.output]
    assert z.producer.inputs == [x]
    assert border.output.shape == (2, 3, 7)
    check_links(build.graph)


def test_a_sum_without_an_input_loses_what_only_served_that(build):
    x = build.source(3, 4)
    kept, served = build.relu(x), build.relu(x)
    gone = build.norm(served)
    total = build.node(Sum(), kept, gone, build.norm(kept))
    build.graph.drop_input(total.producer, gone)
    assert build.graph.removed == [gone.producer, served.producer]
    assert total.producer in build.graph.nodes
    check_links(build.graph)


def test_a_sum_of_one_is_that_one(build):
    x = build.source(3, 4)
    kept, gone = build.relu(x), build.norm(x)
    total = build.node(Sum(), kept, gone)
    after = build.relu(total)
    build.graph.drop_input(total.producer, gone)
    assert after.producer.inputs == [kept]
    assert kept.original_name == total.name
    check_links(build.graph)


def test_what_is_still_read_stays(build):
    x = build.relu(build.source(3, 4))
    gone = build.norm(x, ChannelMap(np.ones(3), np.ones(3)))
    total = build.node(Sum(), x, gone)
    build.graph.drop_input(total.producer, gone)
    assert x.producer in build.graph.nodes
    check_links(build.graph)
