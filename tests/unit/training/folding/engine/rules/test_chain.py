"""Two maps in a row."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_of_two_batch_norms_that_cannot_go_one_stays(build):
    x = build.relu(build.source(3, 5))
    build.norm(build.norm(x, name="a"), name="b")
    rows, distance = difference(build)
    assert [(row.norm.name, row.into) for row in rows] == [("a", ()), ("b", ("a",))]
    assert rows[0].reason
    assert distance < 1e-12
    (node,) = build.graph.affines()
    assert node.operation.changed
    assert [norm.name for norm in node.operation.norms] == ["a", "b"]


def test_a_merged_batch_norm_is_reported_where_both_end(build):
    x = build.relu(build.source(3, 5))
    y = build.norm(build.norm(x, name="a"), name="b")
    build.conv(y, 2, name="c")
    rows, distance = difference(build)
    assert [(row.norm.name, row.into, row.pattern) for row in rows] == [
        ("a", ("c",), "bn → linear"),
        ("b", ("c",), "bn → linear"),
    ]
    assert distance < 1e-12


def test_a_batch_norm_goes_into_all_that_follow_even_into_other_batch_norms(build):
    x = build.relu(build.source(3, 5))
    y = build.norm(x, name="a")
    build.norm(y, name="b")
    build.conv(y, 2, name="c")
    rows, distance = difference(build)
    assert rows[0].into == ("b", "c")
    assert distance < 1e-12


def test_the_second_of_two_is_done_second(build):
    """The negative control: the other order is another map."""
    x = build.relu(build.source(1, 5))
    first, second = ChannelMap(np.ones(1) * 2, np.ones(1)), ChannelMap(np.ones(1), np.ones(1) * 3)
    build.norm(build.norm(x, first), second)
    fold(build.done())
    (node,) = build.graph.affines()
    assert node.operation.map.shift == 4  # 2 x + 1 + 3
    assert first.after(second).shift != 4  # 2 (x + 3) + 1


def test_a_constant_goes_into_a_batch_norm_but_not_the_other_way(build):
    x = build.relu(build.source(3, 5))
    build.norm(build.constant(x, 0.5, 0), name="b")
    rows, distance = difference(build)
    assert [(row.is_norm, row.into) for row in rows] == [(False, ("b",)), (True, ())]
    assert distance < 1e-12


def test_two_constants_stay_two(build):
    """One has no place for a scale and a shift."""
    x = build.relu(build.source(3, 5))
    build.constant(build.constant(x, 0.5, 0), 1, 0.5)
    assert not fold(build.done())
    assert len(build.graph.affines()) == 2


def test_a_locked_batch_norm_stays_and_takes_up_nothing(build):
    x = build.relu(build.source(3, 5))
    y = build.norm(x, name="a")
    build.norm(y, name="b")
    y.producer.operation.locked = "a hook reads its output; remove it"
    rows = fold(build.done())
    assert rows[0].reason == "a hook reads its output; remove it"
    assert "a must stay as it is: a hook reads its output" in rows[1].reason


def test_batch_norms_of_different_axes_stay(build):
    x = build.relu(build.source(3, 3))
    build.norm(build.norm(x, name="a"), axis=2, name="b")
    rows = fold(build.done())
    assert "a acts on axis 1, not on axis 2" in rows[1].reason


def test_one_batch_norm_at_two_places_is_folded_at_each(build):
    """The module is shared, the layers are not: it has one row with both layers."""
    x = build.source(3, 5)
    y = build.norm(build.conv(x, 3, 1, name="c"), name="a")
    z = build.conv(build.relu(y), 3, 1, name="d")
    build.node(y.producer.operation, z, name="again")
    (row,), distance = difference(build)
    assert row.into == ("c", "d")
    assert distance < 1e-12


def test_one_batch_norm_that_stays_at_one_of_two_places_is_refused(build):
    x = build.source(3, 5)
    y = build.norm(build.conv(x, 3, 1, name="c"), name="a")
    build.node(y.producer.operation, build.relu(y), name="again")
    (row,), distance = difference(build)
    assert not row.folded
    assert row.norm.name == "a"
    assert distance < 1e-12
