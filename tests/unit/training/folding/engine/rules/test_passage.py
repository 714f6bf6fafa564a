"""Operations between a map and its layer: pooling, means, identity."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import Average, Maximum, Same
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def behind(build: Builder, operation: object, scale: list[float], shift: float = 1.0) -> None:
    """Build conv, the operation, batch norm."""
    size = len(scale)
    y = build.node(operation, build.conv(build.source(2, 6), size), name="between")
    build.norm(y, ChannelMap(np.array(scale), np.full(size, shift)))


def before(build: Builder, operation: object, scale: list[float], shift: float = 1.0) -> None:
    """Build batch norm, the operation, conv; nothing to fold into before the batch norm."""
    x = build.relu(build.source(len(scale), 6))
    y = build.norm(x, ChannelMap(np.array(scale), np.full(len(scale), shift)))
    build.conv(build.node(operation, y, name="between"), 2, 1)


@pytest.mark.parametrize("pattern", [behind, before])
def test_max_pooling_lets_scales_pass_that_are_not_negative(build, pattern):
    pattern(build, Maximum(), [0.5, 2.0, 0.0])
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


@pytest.mark.parametrize("pattern", [behind, before])
def test_max_pooling_names_the_negative_scales(build, pattern):
    pattern(build, Maximum(), [0.5, -2.0, 1.0, -0.1])
    (row,) = fold(build.done())
    assert "between takes a maximum, which a negative scale turns into a minimum" in row.reason
    assert "2 of 4, channels 1, 3" in row.reason


def test_the_sign_matters_to_a_maximum(build):
    """The negative control: what folding past the maximum would return."""
    behind(build, Maximum(), [0.5, -2.0, 1.0, -0.1])
    maps = [node.operation for node in build.graph.affines()]
    maps[0].map = ChannelMap(np.abs(maps[0].map.scale), maps[0].map.shift)

    def with_signs(graph):
        layer = graph.nodes[0].operation.map
        layer.absorb_backward(ChannelMap(np.array([1, -1.0, 1, -1]), np.zeros(4)))

    assert difference(build, with_signs)[1] > 0.1


@pytest.mark.parametrize("pattern", [behind, before])
def test_a_mean_lets_any_map_pass(build, pattern):
    pattern(build, Average(), [0.5, -2.0])
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


@pytest.mark.parametrize("pattern", [behind, before])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_mean_that_counts_padding_lets_only_scales_pass(build, pattern, shift):
    pattern(build, Average(attenuates=True), [0.5, -2.0], shift)
    (row,), distance = difference(build)
    assert row.folded == (shift == 0)
    assert distance < 1e-12
    assert row.folded or "between counts the zeros of its padding" in row.reason


@pytest.mark.parametrize("pattern", [behind, before])
def test_the_identity_lets_everything_pass(build, pattern):
    pattern(build, Same(), [0.5, -2.0])
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_a_map_on_another_axis_does_not_pass(build):
    y = build.node(Maximum(), build.conv(build.source(2, 6), 2), name="between")
    build.norm(y, ChannelMap(np.ones(3), np.ones(3)), axis=2)
    (row,) = fold(build.done())
    assert "between may mix axis 2" in row.reason


def test_the_value_between_loses_its_meaning_and_the_last_takes_that_of_the_batch_norm(build):
    behind(build, Maximum(), [0.5, 2.0])
    conv, pool, norm = build.graph.nodes
    (row,) = fold(build.done())
    assert conv.output.original_name is None
    assert pool.output.original_name == norm.output.name
    assert row.probe is pool.output
