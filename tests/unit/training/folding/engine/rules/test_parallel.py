"""Branches of one input that a sum joins: RepVGG, ACNet, MobileOne."""

import numpy as np
import pytest

from tests.neutral_graphs import Builder, difference
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import Linear, Sum
from training.folding.engine.planner import fold

DILATED = {"dilations": (2,)}


@pytest.fixture
def build() -> Builder:
    return Builder()


def add_branches(build: Builder, *values: object) -> object:
    return build.node(Sum(), *values)


def layers(build: Builder) -> list[str]:
    return [node.name for node in build.graph.nodes if isinstance(node.operation, Linear)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(5,), (4, 5), (3, 3, 3)])
@pytest.mark.parametrize("nested", [False, True])
def test_a_block_of_repvgg_becomes_one_convolution(build, groups, sizes, nested):
    x = build.relu(build.source(4, *sizes))
    three = build.norm(build.conv(x, 4, 3, pad=1, groups=groups, name="three"))
    one = build.norm(build.conv(x, 4, 1, groups=groups, bias=False, name="one"))
    if nested:
        total = add_branches(build, add_branches(build, three, one), build.norm(x, name="id"))
    else:
        total = add_branches(build, three, one, build.norm(x, name="id"))
    rows, distance = difference(build)
    assert distance < 1e-12
    assert layers(build) == ["three"]
    assert [row.into for row in rows] == [("three",)] * 3
    assert {row.norm.name: row.pattern for row in rows}["id"] == "linear + bn"
    assert [(kept.name, gone.name) for kept, gone in build.graph.merged] == [("three", "one")]
    assert total.producer in build.graph.bypassed
    assert rows[0].probe.original_name == total.name


@pytest.mark.parametrize("spoilt", ["centre", "group", "shift"])
def test_the_place_of_the_identity_matters(build, spoilt):
    """The negative control: the identity next to the centre, in another group, or without shift."""
    x = build.relu(build.source(4, 5))
    y = build.conv(x, 4, 3, pad=1, groups=2)
    map_ = build.map(4)
    add_branches(build, y, build.norm(x, map_))
    layer = y.producer.operation.map

    def spoil(graph):
        weight, bias = layer.weight(), layer.bias  # (4, 2, 3)
        outputs, inputs = np.arange(4), np.array([0, 1, 0, 1])
        places = {"centre": (inputs, 0), "group": (1 - inputs, 1), "shift": (inputs, 1)}
        weight[outputs, inputs, 1] -= map_.scale
        weight[(outputs, *places[spoilt])] += map_.scale
        layer.replace(lambda: weight, bias - map_.shift if spoilt == "shift" else bias)

    assert difference(build, spoil)[1] > 0.1


def test_a_dilated_kernel_has_its_centre_too(build):
    x = build.relu(build.source(2, 7))
    y = build.conv(x, 2, 3, pad=2, dilations=(2,), name="c")
    add_branches(build, y, build.norm(x))
    (row,), distance = difference(build)
    assert row.into == ("c",)
    assert distance < 1e-12


def test_a_dense_layer_takes_the_parallel_identity(build):
    x = build.relu(build.source(4))
    add_branches(build, build.dense(x, 4, name="d"), build.norm(x))
    (row,), distance = difference(build)
    assert row.into == ("d",)
    assert distance < 1e-12


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"strides": (2,)}, r"c, parallel to it, has strides (2,), not 1"),
        ({"padding": ((0, 2),)}, r"c, parallel to it, has a kernel (3,) whose centre is not where"),
        (
            {"padding": None},
            r"c, parallel to it, pads by an amount that depends on the input's size",
        ),
        ({"locked": "it is quantized"}, r"c must stay as it is: it is quantized"),
        ({"shared": "d"}, r"c shares its weights with d; --clone"),
    ],
    ids=["stride", "padding", "unknown padding", "locked", "shared"],
)
def test_a_layer_that_cannot_take_the_identity_says_why(build, settings, reason):
    x = build.relu(build.source(2, 5))
    y = build.conv(x, 2, 3, pad=1, name="c")
    add_branches(build, y, build.norm(x))
    for name, value in settings.items():
        setattr(y.producer.operation.map, name, value)
    (row,) = fold(build.done())
    assert f"nor into what is parallel to it: {reason}" in row.reason
    assert not y.producer.operation.map.changed


def test_an_output_that_others_read_stays(build):
    x = build.relu(build.source(2, 5))
    y = build.conv(x, 2, 3, pad=1)
    add_branches(build, y, build.norm(x))
    build.relu(y)
    (row,), distance = difference(build)
    assert not row.folded
    assert distance < 1e-12


def test_a_sum_that_others_read_stays_apart(build):
    x = build.relu(build.source(2, 5))
    inner = add_branches(build, build.conv(x, 2, 3, pad=1), build.relu(x))
    add_branches(build, inner, build.norm(x))
    build.relu(inner)
    (row,), distance = difference(build)
    assert not row.folded
    assert distance < 1e-12


def test_another_input_is_no_branch(build):
    x, z = build.relu(build.source(2, 5)), build.relu(build.source(2, 5))
    add_branches(build, build.conv(x, 2, 3, pad=1), build.norm(z))
    (row,) = fold(build.done())
    assert "parallel" not in row.reason


@pytest.mark.parametrize(
    ("large", "small", "merged"),
    [
        ({"kernel": 3, "pad": 1}, {"kernel": 1}, True),
        ({"kernel": 5, "pad": 2}, {"kernel": 3, "pad": 1}, True),
        ({"kernel": 3, "pad": 1}, {"kernel": 3, "pad": 1}, True),
        ({"kernel": 3, "pad": 1, "strides": (2,)}, {"kernel": 1, "strides": (2,)}, True),
        ({"kernel": 3, "pad": 1, "groups": 2}, {"kernel": 1, "groups": 2}, True),
        ({"kernel": 3, "pad": 2, **DILATED}, {"kernel": 1}, True),
        ({"kernel": 5, "pad": 4, **DILATED}, {"kernel": 3, "pad": 2, **DILATED}, True),
        ({"kernel": 5, "pad": 4, **DILATED}, {"kernel": 3, "pad": 1}, False),
        ({"kernel": 3, "pad": 1, "groups": 2}, {"kernel": 1}, False),
        ({"kernel": 2, "pad": 1, **DILATED}, {"kernel": 1}, False),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True])
def test_parallel_convolutions_become_the_larger_one(build, large, small, merged, swapped):
    x = build.relu(build.source(2, 6))
    settings = [small, large] if swapped else [large, small]
    names = ["small", "large"] if swapped else ["large", "small"]
    add_branches(
        build,
        *(build.conv(x, 2, **one, name=name) for one, name in zip(settings, names, strict=True)),
    )
    assert not build.graph.affines()
    rows, distance = difference(build)
    assert not rows
    assert distance < 1e-12
    assert len(layers(build)) == (1 if merged else 2)
    if merged and large != small:
        assert layers(build) == ["large"]


def test_a_kernel_at_the_wrong_place_is_seen(build):
    """The negative control of the alignment."""
    x = build.relu(build.source(2, 6))
    layers = [build.conv(x, 2, 3, pad=1).producer, build.conv(x, 2, 1).producer]
    add_branches(build, *(node.output for node in layers))

    def spoil(graph):
        weight = layers[0].operation.map.weight()
        layers[0].operation.map.replace(lambda: np.roll(weight, 1, axis=-1), None)

    assert difference(build, spoil)[1] > 0.1


def test_weights_that_would_overflow_together_stay_apart(build):
    x = build.relu(build.source(2, 5))
    nodes = [build.conv(x, 2, 1).producer for _ in range(2)]
    add_branches(build, *(node.output for node in nodes))
    for node in nodes:
        node.operation.map.replace(lambda: np.full((2, 2, 1), 4e4), None)
        node.operation.map.dtype = np.dtype(np.float16)
    fold(build.done())
    assert not build.graph.merged


def test_layers_that_pad_with_other_things_stay_apart(build):
    """Two convolutions with padding of which one repeats the border."""
    x = build.relu(build.source(2, 5))
    nodes = [build.conv(x, 2, 3, pad=1).producer for _ in range(2)]
    nodes[0].operation.map.pads = False
    add_branches(build, *(node.output for node in nodes))
    fold(build.done())
    assert not build.graph.merged


def test_many_branches_are_read_without_recursion(build):
    x = build.relu(build.source(1, 2))
    total = build.conv(x, 1, 1, name="first")
    for _ in range(120):
        total = add_branches(build, total, build.norm(build.conv(x, 1, 1)))
    _, distance = difference(build)
    assert layers(build) == ["first"]
    assert distance < 1e-11


def test_weights_absorb_more_after_they_were_merged(build):
    x = build.source(2, 5)
    y = build.norm(build.relu(x), ChannelMap(np.array([2.0, 3.0]), np.zeros(2)), name="before")
    total = add_branches(build, build.conv(y, 2, 3, pad=1), build.conv(y, 2, 1))
    build.norm(total, name="behind")
    rows, distance = difference(build)
    assert all(row.folded for row in rows)
    assert len(layers(build)) == 1
    assert distance < 1e-12


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_batch_norm_behind_a_sum_with_its_input_goes_into_the_layers(build, groups, nested):
    """RepViT: bn(conv(x) + conv1(x) + x), where the residual reads x as well."""
    x = build.relu(build.source(4, 6, 5))
    three = build.conv(x, 4, 3, pad=1, groups=groups, name="three")
    one = build.conv(x, 4, 1, groups=groups, name="one")
    if nested:
        total = add_branches(build, add_branches(build, three, one), x)
    else:
        total = add_branches(build, x, three, one)
    add_branches(build, x, build.relu(build.norm(total)))
    rows, distance = difference(build)
    assert distance < 1e-12
    assert rows[0].into == ("three",)
    assert layers(build) == ["three"]
    assert x.original_name is not None


def test_an_input_that_is_added_twice_counts_twice(build):
    x = build.relu(build.source(4, 5))
    y = build.conv(x, 4, 3, pad=1, name="c")
    add_branches(build, x, build.relu(build.norm(add_branches(build, x, y, x))))
    (row,), distance = difference(build)
    assert row.into == ("c",)
    assert distance < 1e-12


@pytest.mark.parametrize("obstacle", ["another input", "locked", "a branch that is no layer"])
def test_a_sum_stays_as_it_is_where_the_batch_norm_behind_it_must(build, obstacle):
    x = build.relu(build.source(4, 5))
    y = build.conv(x, 4, 3, pad=1, name="c")
    others = {"another input": [build.relu(x)], "locked": [x]}.get(obstacle, [x, build.relu(y)])
    total = add_branches(build, y, *others)
    if obstacle == "locked":
        y.producer.operation.map.locked = "it is quantized"
    add_branches(build, x, build.relu(build.norm(total)))
    (row,) = fold(build.done())
    assert not row.folded
    assert not y.producer.operation.map.changed
    assert len(total.producer.inputs) == 1 + len(others)


def test_a_sum_without_a_batch_norm_behind_it_stays(build):
    x = build.relu(build.source(4, 5))
    total = add_branches(build, build.conv(x, 4, 3, pad=1, name="c"), x)
    build.relu(total)
    assert fold(build.done()) == []
    assert len(total.producer.inputs) == 2
