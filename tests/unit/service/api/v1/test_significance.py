"""McNemar's exact test against scipy's binomial test."""

import time

import pytest
from scipy.stats import binomtest

from service.api.v1.evaluation import mcnemar_exact


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0, 1),
        (1, 1),
        (5, 5),
        (3, 12),
        (10, 0),
        (64, 199),
        (400, 480),
        (700, 20),
        (2_500, 2_700),
        (4_000, 4_400),
        (5_000, 5_000),
    ],
)
def test_p_is_the_binomial_tests(first, second):
    expected = binomtest(min(first, second), first + second, 0.5).pvalue
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(first, second) == mcnemar_exact(second, first)


def test_networks_that_never_differ_are_equally_good():
    assert mcnemar_exact(0, 0) == 1.0


def test_a_wrong_tail_would_be_noticed():
    one_sided = binomtest(3, 15, 0.5, alternative="less").pvalue
    assert mcnemar_exact(3, 12) == pytest.approx(2 * one_sided)
    assert mcnemar_exact(3, 12) != pytest.approx(one_sided, rel=0.1)


def test_p_at_the_smallest_float_is_not_zero():
    assert mcnemar_exact(0, 1_075) == 5e-324  # 2 / 2**1075; scipy's has underflowed here
    assert mcnemar_exact(0, 1_076) == 0.0


def test_p_below_the_smallest_float_is_zero():
    assert mcnemar_exact(0, 5_000) == 0.0


def test_thousands_of_differences_take_no_time():
    started = time.process_time()
    assert 0 < mcnemar_exact(4_000, 4_400) < 1e-4
    assert time.process_time() - started < 5
