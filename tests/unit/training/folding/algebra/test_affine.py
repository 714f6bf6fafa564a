"""Batch norms as maps per channel: the numbers, and what is refused."""

import numpy as np
import pytest

from training.folding.algebra.affine import (
    BatchNormStats,
    ChannelMap,
    FoldRefused,
    channel_map,
    channels_named,
)


def stats(**changed: object) -> BatchNormStats:
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=4) for name in ("gamma", "beta", "running_mean")}
    return BatchNormStats(
        **({"running_var": rng.uniform(0.1, 2, 4), "eps": 1e-3} | vectors | changed)
    )


def test_a_batch_norm_is_scale_and_shift():
    norm, x = stats(), np.random.default_rng(1).normal(size=(5, 4))
    normalized = (x - norm.running_mean) / np.sqrt(norm.running_var + norm.eps)
    map_ = channel_map(norm)
    expected = norm.gamma * normalized + norm.beta
    np.testing.assert_allclose(map_.scale * x + map_.shift, expected, rtol=1e-13, atol=1e-13)
    without_eps = channel_map(stats(eps=0.0))
    assert np.abs(without_eps.scale * x + without_eps.shift - expected).max() > 1e-4


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gamma": np.array([1, np.nan, 1, 1])}, r"gamma is nan in channel 1$"),
        (
            {"running_mean": np.array([1, 1, np.inf, -np.inf])},
            r"running_mean is inf in channels 2, 3",
        ),
        (
            {"running_var": np.array([1, 1, -0.5, 1])},
            r"running_var is -0\.5, below zero, in channel 2",
        ),
        (
            {"running_var": np.zeros(4), "eps": 0.0},
            r"running_var \+ eps is 0 in channels 0, 1, 2, 3",
        ),
        ({"eps": -10.0}, r"running_var \+ eps is -\S+ in channels"),
        ({"eps": np.nan}, r"running_var \+ eps is nan"),
        (
            {"gamma": np.full(4, 1e300), "running_var": np.zeros(4), "eps": 1e-40},
            r"overflows float64",
        ),
    ],
    ids=["nan", "inf", "negative", "zero", "negative eps", "eps is nan", "overflow"],
)
def test_statistics_that_make_no_map_are_refused_with_the_channels(changed, reason):
    with pytest.raises(FoldRefused, match=reason):
        channel_map(stats(**changed))


def test_a_dead_channel_is_exact():
    """A variance of zero makes a large scale, and that is what the batch norm does."""
    map_ = channel_map(stats(running_var=np.zeros(4), gamma=np.ones(4), eps=1e-5))
    np.testing.assert_allclose(map_.scale, 316.22776601683796)


def test_two_maps_in_a_row_are_one():
    rng = np.random.default_rng(0)
    first, second = (ChannelMap(rng.normal(size=3), rng.normal(size=3)) for _ in range(2))
    x = rng.normal(size=(2, 3))
    both, twice = second.after(first), second.scale * (first.scale * x + first.shift) + second.shift
    np.testing.assert_allclose(both.scale * x + both.shift, twice, rtol=1e-14)
    wrong = first.after(second)
    assert np.abs(wrong.scale * x + wrong.shift - twice).max() > 0.01


def test_a_map_is_split_and_broadcast_only_to_its_channels():
    map_ = ChannelMap(np.arange(3.0), -np.arange(3.0))
    assert [part.scale.tolist() for part in map_.split([1, 2])] == [[0], [1, 2]]
    assert ChannelMap(np.ones(1), np.ones(1)).broadcast(3).shift.tolist() == [1, 1, 1]
    with pytest.raises(FoldRefused, match=r"it has 3 channels, and there are 4 there"):
        list(map_.split([2, 2]))


def test_many_channels_are_counted():
    assert channels_named(np.array([3])) == "channel 3"
    assert channels_named(np.arange(12)) == "channels 0, 1, 2, 3, 4, 5, 6, 7, … (12 in all)"
