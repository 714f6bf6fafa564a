"""When requests are due."""

import itertools
import statistics

import pytest

from training.client.errors import RequestError
from training.client.load.arrivals import arrival_times


def first(number, *arguments):
    return list(itertools.islice(arrival_times(*arguments), number))


def test_constant_arrivals_are_evenly_spaced_from_the_start():
    assert first(4, "constant", 4.0, 0) == [0.0, 0.25, 0.5, 0.75]


def test_a_seed_gives_the_same_poisson_arrivals_and_another_seed_others():
    assert first(100, "poisson", 50.0, 1) == first(100, "poisson", 50.0, 1)
    assert first(100, "poisson", 50.0, 1) != first(100, "poisson", 50.0, 2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_poisson_arrivals_have_the_mean_rate_and_the_spread_of_exponential_gaps(seed):
    times = first(20_000, "poisson", 200.0, seed)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # Both are 1/rate for exponential gaps; their standard errors are 0.7 % and 1 %.
    assert statistics.fmean(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert times == sorted(times)


def test_constant_gaps_would_fail_that_check_of_the_spread():
    gaps = [b - a for a, b in itertools.pairwise(first(1000, "constant", 200.0, 0))]
    assert statistics.stdev(gaps) < 1e-6


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_cannot_be_sent_is_refused(rate):
    with pytest.raises(RequestError, match="give one above 0"):
        arrival_times("poisson", rate, 0)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(RequestError, match="no arrivals 'bursts'; take one of poisson, constant"):
        arrival_times("bursts", 1.0, 0)
