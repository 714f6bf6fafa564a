"""Rounding to bfloat16 is to the nearest, in one step."""

import ml_dtypes
import numpy as np
import pytest

from training.folding.algebra.rounding import largest, rounded

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def test_a_number_next_to_a_tie_is_not_rounded_twice():
    above, below = 1 + 2**-8 + 2**-30, 1 + 3 * 2**-8 - 2**-30
    values = np.array([above, -above, below, -below, 1 + 2**-8])
    nearest = [1 + 2**-7, -1 - 2**-7, 1 + 2**-7, -1 - 2**-7, 1]
    assert rounded(values, BFLOAT16).astype(float).tolist() == nearest
    twice = values.astype(BFLOAT16).astype(float)
    assert twice.tolist() != nearest  # the negative control: what ml_dtypes alone does


def test_every_number_is_rounded_to_one_of_its_neighbours_and_the_nearer():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20000) * 10.0 ** rng.integers(-30, 30, 20000)
    got = rounded(values, BFLOAT16).astype(np.float64)
    for direction in (-np.inf, np.inf):
        neighbour = np.nextafter(got.astype(BFLOAT16), np.array(direction, BFLOAT16))
        assert (np.abs(got - values) <= np.abs(neighbour.astype(np.float64) - values)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_of_numpy_round_as_numpy_does(dtype):
    values = np.random.default_rng(0).normal(size=100)
    np.testing.assert_array_equal(rounded(values, np.dtype(dtype)), values.astype(dtype))
    assert largest(np.dtype(dtype)) == np.finfo(dtype).max


def test_the_largest_bfloat16_is_known():
    assert largest(BFLOAT16) == float(ml_dtypes.finfo(BFLOAT16).max)
