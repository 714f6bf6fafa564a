"""Padding by a node of its own."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import BorderPad, Concat, Pad
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def borders(build: Builder) -> list[BorderPad]:
    return [n.operation for n in build.graph.nodes if isinstance(n.operation, BorderPad)]


def before(build: Builder, pad: Pad, map_: ChannelMap | None = None) -> None:
    """Build batch norm, padding, conv without padding."""
    x = build.relu(build.source(2, 5))
    build.conv(build.node(pad, build.norm(x, map_), name="pad"), 2, 3)


def after(build: Builder, pad: Pad) -> None:
    build.norm(build.node(pad, build.conv(build.source(2, 5), 3), name="pad"))


@pytest.mark.parametrize("pattern", [before, after])
def test_values_of_the_image_commute(build, pattern):
    pattern(build, Pad(None, ((1, 2),)))
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12
    assert not borders(build)


@pytest.mark.parametrize("value", [0.0, 1.5])
@pytest.mark.parametrize("pattern", [before, after])
def test_a_constant_becomes_one_for_each_channel(build, pattern, value):
    pattern(build, Pad(value, ((1, 2),)))
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12
    assert [border.padding for border in borders(build)] == [((1, 2),)]
    assert "pad" in [node.name for node in build.graph.bypassed]


@pytest.mark.parametrize("pattern", [before, after])
def test_the_numbers_of_the_border_matter(build, pattern):
    def zero(graph):
        for border in borders(build):
            border.values = np.zeros_like(border.values)

    pattern(build, Pad(0.0, ((1, 2),)))
    assert difference(build, zero)[1] > 0.1


def test_a_constant_that_the_map_keeps_stays(build):
    """2 x - 1.5 sends 1.5 to itself."""
    before(build, Pad(1.5, ((1, 2),)), ChannelMap(np.full(2, 2.0), np.full(2, -1.5)))
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12
    assert not borders(build)


@pytest.mark.parametrize("padding", [None, ((-1, 0),)])
def test_unknown_amounts_and_cropping_are_refused(build, padding):
    y = build.norm(build.relu(build.source(2, 5)))
    pad = Pad(0.0, ((1, 1),))
    build.conv(build.node(pad, y, name="pad"), 2, 3)
    pad.padding = padding
    (row,) = fold(build.done())
    assert "pad pads by an amount that is not known, or crops" in row.reason


def test_a_dead_channel_with_a_shift_has_no_border(build):
    before(build, Pad(0.0, ((1, 1),)), ChannelMap(np.array([0.0, 1.0]), np.ones(2)))
    (row,) = fold(build.done())
    assert "pad pads, and the scale is zero in channel 0" in row.reason


def test_constants_make_no_border_at_a_pad(build):
    x = build.constant(build.source(2, 5), 1, 0.5)
    build.conv(build.node(Pad(0.0, ((1, 1),)), x), 2, 3)
    assert not fold(build.done())
    assert not borders(build)


def test_a_second_map_changes_the_border_of_the_first(build):
    """A batch norm in front of a concatenation in front of another one, and a layer that pads."""
    x, z = build.relu(build.source(2, 5)), build.relu(build.source(3, 5))
    joined = build.node(Concat(1), build.norm(x, name="a"), z)
    build.conv(build.norm(joined, name="b"), 2, 3, pad=1, name="c")
    rows, distance = difference(build)
    assert [row.into for row in rows] == [("c",), ("c",)]
    assert distance < 1e-12
    assert len(borders(build)) == 1
