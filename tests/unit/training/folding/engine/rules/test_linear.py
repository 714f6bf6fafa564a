"""Maps that end in a layer, behind it and before it."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import BorderPad, Concat
from training.folding.engine.planner import fold


@pytest.fixture
def build() -> Builder:
    return Builder()


def only_row(build: Builder):
    (row,) = fold(build.done())
    return row


@pytest.mark.parametrize("sizes", [(4,), (4, 4), (4, 4, 4)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_batch_norm_goes_into_the_convolution_before_it(build, sizes, groups):
    build.norm(build.conv(build.source(4, *sizes), 8, 3, groups=groups, pad=1, name="c"), name="b")
    row, distance = difference(build)
    assert (row[0].into, row[0].pattern) == (("c",), "linear → bn")
    assert distance < 1e-12


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_batch_norm_goes_into_the_transposed_convolution_before_it_by_groups(build, groups):
    """pytorch 180995: with groups the output channels of W are (g, O/g), and not axis 1 alone."""
    build.norm(build.transposed(build.source(4, 4, 4), 8, groups=groups))
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_scaling_the_wrong_axis_of_a_transposed_convolution_is_seen(build):
    """ultralytics 25364: the negative control."""
    y = build.transposed(build.source(4, 4, 4), 4)
    z = build.norm(y)
    layer, map_ = y.producer.operation.map, z.producer.operation.map
    wrong = layer.weight() * map_.scale[:, None, None, None]  # axis 0 is that of the inputs
    layer.absorb_backward(map_)
    assert np.abs(wrong - layer.weight()).max() > 0.1


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_norm_goes_into_the_convolution_behind_it(build, pad, groups):
    x = build.relu(build.source(4, 5, 5))
    build.conv(build.norm(x), 6, 3, groups=groups, pad=pad, name="c")
    (row,), distance = difference(build)
    assert (row.into, row.pattern) == (("c",), "bn → linear")
    assert distance < 1e-12
    borders = [n.operation for n in build.graph.nodes if isinstance(n.operation, BorderPad)]
    assert len(borders) == pad


def test_the_border_of_a_padding_layer_matters(build):
    """The negative control of the border: without it the result is another."""
    x = build.relu(build.source(2, 5))
    build.conv(build.norm(x), 2, 3, pad=1)

    def without_border(graph):
        for node in graph.nodes:
            if isinstance(node.operation, BorderPad):
                node.operation.values = np.zeros_like(node.operation.values)

    assert difference(build, without_border)[1] > 0.01


def test_a_shift_of_a_dead_channel_has_no_border(build):
    x = build.relu(build.source(3, 5))
    map_ = ChannelMap(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 2.0]))
    layer = build.conv(build.norm(x, map_), 2, 3, pad=1, name="c").producer.operation.map
    row = only_row(build)
    assert "c pads, and the scale is zero in channel 2: no border value" in row.reason
    assert not layer.changed


def test_a_dead_channel_without_a_shift_folds(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.norm(x, ChannelMap(np.array([1.0, 0.0]), np.array([1.0, 0.0]))), 2, 3, pad=1)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12


def test_a_border_that_would_overflow_is_refused(build):
    x = build.relu(build.source(2, 5))
    y = build.conv(build.norm(x, ChannelMap(np.array([1.0, 1e-6]), np.ones(2))), 2, 3, pad=1)
    y.producer.operation.map.dtype = np.dtype(np.float16)
    assert "the border would overflow float16 in channel 1" in only_row(build).reason


def test_a_scale_alone_needs_no_border(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.norm(x, ChannelMap(np.array([1.5, -2]), np.zeros(2))), 2, 3, pad=1)
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12
    assert len(build.graph.nodes) == 2


def test_padding_that_depends_on_the_size_has_no_border(build):
    x = build.relu(build.source(2, 5))
    build.conv(build.norm(x), 2, 3, pad=1).producer.operation.map.padding = None
    assert "depends on the input's size; export" in only_row(build).reason


def test_constants_make_no_border(build):
    x = build.source(2, 5)
    y = build.constant(x, 1, 0.5)
    build.conv(y, 2, 3, pad=1)
    assert not fold(build.done())
    assert y.producer in build.graph.nodes


def test_constants_fold_where_that_is_exact(build):
    """Division by 255 and by the deviations: only scales, so that padding keeps its zeros."""
    x = build.source(3, 5)
    y = build.constant(build.constant(x, 1 / 255, 0), [4.0, 5.0, 6.0], 0)
    build.conv(y, 2, 3, pad=1, name="c")
    rows, distance = difference(build)
    assert [(row.is_norm, row.into) for row in rows] == [(False, ("c",))] * 2
    assert distance < 1e-12


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_only_a_scale_goes_into_the_transposed_convolution_behind_it(build, shift):
    x = build.relu(build.source(2, 4))
    build.transposed(build.norm(x, ChannelMap(np.array([2.0, -3.0]), np.full(2, shift))), 3)
    (row,), distance = difference(build)
    assert row.folded == (shift == 0)
    assert row.folded or "is a transposed convolution, where a shift" in row.reason
    assert distance < 1e-12


def test_a_dense_layer_acts_on_the_last_axis(build):
    """pytorch/ao 4116: a batch norm on axis 1 of (N, C, L) is none on the features L."""
    build.norm(build.dense(build.source(4, 4), 4, name="d"), axis=1)
    assert "d acts on the last of 3 axes, and the map on axis 1" in only_row(build).reason


@pytest.mark.parametrize("rank", [2, 3])
def test_a_batch_norm_on_the_features_goes_into_a_dense_layer(build, rank):
    x = build.source(*(4,) * (rank - 1))
    build.norm(build.dense(x, 5), axis=rank - 1)
    y = build.dense(build.norm(build.relu(x), axis=rank - 1), 5)
    assert y.shape[-1] == 5
    rows, distance = difference(build)
    assert [row.pattern for row in rows] == ["linear → bn", "bn → linear"]
    assert distance < 1e-12


def test_a_dense_layer_of_unknown_rank_is_refused(build):
    y = build.dense(build.source(4), 4, name="d")
    build.norm(y)
    y.shape = None
    assert "d acts on the last axis, and the number of axes is not known" in only_row(build).reason


def test_the_channels_of_a_convolution_are_on_axis_1(build):
    build.norm(build.conv(build.source(4, 6), 4, 3, name="c"), axis=2)
    assert "c has its channels on axis 1, and the map on axis 2" in only_row(build).reason


def test_a_locked_layer_stays(build):
    y = build.conv(build.source(2, 5), 2, name="c")
    y.producer.operation.map.locked = "a hook reads its output"
    build.norm(y)
    assert "c must stay as it is: a hook reads its output" in only_row(build).reason


@pytest.mark.parametrize("clones", [False, True])
def test_shared_weights_need_a_copy(build, clones):
    y = build.conv(build.source(2, 5), 2, name="c")
    y.producer.operation.map.shared = "d"
    build.norm(y)
    build.graph.clones = clones
    row = only_row(build)
    assert row.folded == clones
    assert clones or "c shares its weights with d; --clone gives it its own" in row.reason


@pytest.mark.parametrize("clones", [False, True])
def test_one_layer_at_two_places_is_folded_as_two_or_not_at_all(build, clones):
    """pytorch 104593 and 197539: the second fold would change the first again."""
    x = build.source(2, 5)
    y = build.norm(build.conv(x, 2, 3, pad=1, name="c"))
    twin = build.node(y.producer.inputs[0].producer.operation, y, name="d")
    build.norm(twin)
    build.graph.clones = clones
    rows, distance = difference(build)
    assert [row.folded for row in rows] == [clones, clones]
    assert distance < 1e-12
    assert clones or "c shares its weights with d" in rows[0].reason
    assert clones or "d shares its weights with c" in rows[1].reason


def test_a_layer_that_reads_two_tensors_stays(build):
    x = build.source(2, 5)
    y = build.conv(x, 2, name="c")
    y.producer.inputs.append(x)
    x.consumers.append(y.producer)
    build.norm(y)
    assert "c reads 2 tensors" in only_row(build).reason


def test_a_batch_norm_of_another_size_is_refused_by_name(build):
    y = build.conv(build.source(2, 5), 3, name="c")
    build.norm(y).producer.operation.map = ChannelMap(np.ones(2), np.ones(2))
    assert "c: it has 2 channels, and there are 3 there" in only_row(build).reason


@pytest.mark.parametrize("clones", [False, True])
def test_a_layer_with_two_readers_is_copied_or_stays(build, clones):
    """TNN 68: the second reader must see the output as it was."""
    y = build.conv(build.source(2, 5), 2, name="c")
    build.relu(y)
    build.norm(y, name="b")
    build.graph.clones = clones
    (row,), distance = difference(build)
    assert distance < 1e-12
    assert row.into == (("c_copy",) if clones else ())
    assert clones or "the output of c is read 2 times; --clone gives" in row.reason


def test_copies_are_the_last_resort(build):
    y = build.conv(build.source(2, 5), 2, name="c")
    build.relu(y)
    build.conv(build.norm(y), 2, 1, name="d")
    build.graph.clones = True
    (row,), distance = difference(build)
    assert row.into == ("d",)
    assert distance < 1e-12


def test_the_same_value_twice_in_a_concatenation_gets_two_copies(build):
    y = build.conv(build.source(2, 5), 2, name="c")
    build.norm(build.node(Concat(1), y, y))
    build.graph.clones = True
    (row,), distance = difference(build)
    assert row.folded
    assert distance < 1e-12
