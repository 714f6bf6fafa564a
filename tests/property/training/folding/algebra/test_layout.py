"""A map carried over an operation that moves numbers does there what it did before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.layout import cut, permuted
from training.folding.algebra.reshaping import reshaped

SEEDS = st.integers(0, 2**32 - 1)


def shapes(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Two shapes of the same numbers."""
    primes = rng.choice([1, 2, 2, 2, 3, 3, 5], int(rng.integers(1, 6)))
    sides = []
    for _ in range(2):
        if rng.random() < 0.3:
            primes = rng.permutation(primes)
        ends = np.sort(rng.integers(0, len(primes) + 1, int(rng.integers(0, 4))))
        sides.append([int(np.prod(part)) for part in np.split(primes, ends)])
    return sides[0], sides[1]


def random_move(rng: np.random.Generator):
    """A shape, a layout, and what numpy does."""
    before, after = shapes(rng)
    kind = rng.integers(4)
    if kind == 0:
        return before, reshaped(before, after), lambda x: x.reshape(after)
    if kind == 1:
        order = rng.permutation(len(before)).tolist()
        return before, permuted(before, order), lambda x: x.transpose(order)
    axis = int(rng.integers(len(before)))
    places = rng.integers(0, before[axis], int(rng.integers(1, 5)))
    if kind == 2:
        places = np.arange(int(rng.integers(before[axis])), before[axis], int(rng.integers(1, 3)))
    return before, cut(before, {axis: places}), lambda x: x.take(places, axis)


def applied(x: np.ndarray, map_: ChannelMap, axes: tuple[int, ...]) -> np.ndarray:
    if map_.scale.size == 1:
        return x * map_.scale.reshape(()) + map_.shift.reshape(())
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    return x * map_.scale.reshape(shape) + map_.shift.reshape(shape)


def random_map(rng: np.random.Generator, x: np.ndarray) -> tuple[ChannelMap, tuple[int, ...]]:
    """A map on one axis or two, the same in some places."""
    axes = tuple(sorted(rng.permutation(x.ndim)[: rng.integers(1, 3)].tolist()))
    shape = [x.shape[axis] for axis in axes]
    scale, shift = rng.integers(-1, 3, shape).astype(float), rng.integers(0, 2, shape).astype(float)
    if len(axes) > 1 and rng.integers(2):
        scale[:], shift[:] = scale[:1], shift[:1]
    return ChannelMap(scale, shift), axes


def check_forward(seed: int) -> bool:
    rng = np.random.default_rng(seed)
    before, layout, move = random_move(rng)
    x = rng.normal(size=before)
    map_, axes = random_map(rng, x)
    try:
        carried = layout.forward(map_, axes)
    except FoldRefused:
        return False
    np.testing.assert_array_equal(move(applied(x, map_, axes)), applied(move(x), *carried))
    return True


def check_backward(seed: int) -> bool:
    rng = np.random.default_rng(seed)
    before, layout, move = random_move(rng)
    x = rng.normal(size=before)
    map_, axes = random_map(rng, move(x))
    alone = bool(rng.integers(2))
    try:
        carried = layout.backward(map_, axes, alone=alone)
    except FoldRefused:
        return False
    changed = applied(x, *carried)
    np.testing.assert_array_equal(move(changed), applied(move(x), map_, axes))
    if not alone:
        others = np.setdiff1d(np.arange(x.size), move(np.arange(x.size).reshape(before)))
        np.testing.assert_array_equal(changed.reshape(-1)[others], x.reshape(-1)[others])
    return True


@settings(derandomize=True, deadline=None, max_examples=400)
@given(SEEDS)
def test_a_map_of_the_input_is_carried_to_the_output(seed):
    check_forward(seed)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(SEEDS)
def test_a_map_of_the_output_is_carried_to_the_input(seed):
    check_backward(seed)


@pytest.mark.parametrize("check", [check_forward, check_backward])
def test_most_random_maps_can_be_carried(check):
    assert sum(check(seed) for seed in range(300)) > 100


def test_shuffled_channels_lie_on_two_axes_in_between():
    map_ = ChannelMap(np.arange(6.0), np.zeros(6))
    groups, axes = reshaped([2, 6, 5], [2, 3, 2, 5]).forward(map_, (1,))
    assert axes == (1, 2)
    swapped, axes = permuted([2, 3, 2, 5], [0, 2, 1, 3]).forward(groups, axes)
    shuffled, axes = reshaped([2, 2, 3, 5], [2, 6, 5]).forward(swapped, axes)
    assert axes == (1,)
    np.testing.assert_array_equal(shuffled.scale, [0, 2, 4, 1, 3, 5])


@pytest.mark.parametrize(
    ("before", "after", "axis", "repeated"),
    [
        (["N", 16, 3], [None, 3], 2, 1),
        ([None, 3], ["N", 16, 3], 1, 1),
        (["N", 3, 4], ["N", 12], 1, 4),
        (["N", 3, 4], [None, 12], 1, 4),
        (["N", 3, "H", "W"], ["N", 3, None], 1, 1),
        (["N", "L", 3], [None, 3, 1, 1], 2, 1),
        ([5, 3, None], [5, 3, 2, None], 1, 1),
    ],
)
def test_what_is_known_of_the_sizes_proves_where_the_channels_are(before, after, axis, repeated):
    map_ = ChannelMap(np.arange(3.0), np.zeros(3))
    carried, _ = reshaped(before, after).forward(map_, (axis,))
    np.testing.assert_array_equal(carried.scale, np.arange(3.0).repeat(repeated))


@pytest.mark.parametrize(
    ("before", "after", "axis"),
    [
        (["N", 3, None], ["N", None], 1),  # repeated how often?
        (["N", 3, 5], ["N", 5, 3], 1),  # looks like a transposition and is none
        (["N", "L", 3], [None, 3, "L"], 2),
        ([None, 3, 4], [None, 3, None], 1),  # an unknown batch may take a part of the 4
        (["N", 3, "H"], ["M", 3, "K"], 1),
    ],
)
def test_sizes_that_prove_nothing_are_refused(before, after, axis):
    map_ = ChannelMap(np.arange(3.0), np.zeros(3))
    with pytest.raises(FoldRefused, match=r"mixes|not known"):
        reshaped(before, after).forward(map_, (axis,))


def test_a_channel_that_is_taken_twice_needs_one_map():
    layout = cut([2, 3], {1: np.array([0, 0, 2])})
    same = ChannelMap(np.array([2.0, 2, 3]), np.zeros(3))
    map_, _ = layout.backward(same, (1,), alone=True)
    np.testing.assert_array_equal(map_.scale, [2, 1, 3])
    with pytest.raises(FoldRefused, match="takes a channel twice"):
        layout.backward(ChannelMap(np.arange(3.0), np.zeros(3)), (1,), alone=True)
