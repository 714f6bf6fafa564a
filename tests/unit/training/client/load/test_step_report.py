"""Samples to figures."""

import random

import numpy as np
import pytest

from training.client.load.samples import Recording, Sample, Window
from training.client.load.step_report import Step, nearest_rank, percentiles, summarize


def sample(scheduled, latency=0.01, status=200, **fields):
    return Sample(scheduled, scheduled, scheduled + latency, status, **fields)


def report(*samples, window=(0.0, 10.0), cpu_share=0.1, **step):
    recording = Recording(Window(*window), list(samples), cpu_share)
    return summarize(Step(**{"rate": 1.0, **step}), recording)


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed():
    ordered = list(range(1, 1001))
    shares = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)
    assert [nearest_rank(ordered, share) for share in shares] == [1, 500, 900, 990, 999, 1000]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101, 997])
def test_percentiles_are_those_of_numpy_by_inverted_cdf(count):
    chance = random.Random(count)
    times = [chance.expovariate(1.0) for _ in range(count)]
    found = percentiles(times)
    expected = np.percentile(times, [50, 90, 99, 99.9, 100], method="inverted_cdf") * 1000
    figures = [found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.max_ms]
    assert figures == pytest.approx(expected, abs=0.0005)  # figures have three decimals


def test_no_times_have_no_percentiles():
    assert percentiles([]) is None


def test_accepted_and_rejected_have_latencies_of_their_own():
    result = report(sample(1, 0.1), sample(2, 0.002, 503), sample(3, 0.004, 429), sample(4, 5, 504))
    assert (result.accepted.count, result.accepted.max_ms) == (1, 100)
    assert (result.rejected.count, result.rejected.max_ms) == (2, 4)
    counts = result.counts
    ended = (counts.ok, counts.rejected_503, counts.rejected_429, counts.timed_out_504)
    assert ended == (1, 1, 1, 1)
    assert counts.other == {}


def test_everything_else_is_counted_by_its_name():
    result = report(sample(1, status=500), sample(2, status=None, failure="TimeoutError"))
    assert result.counts.other == {"500": 1, "TimeoutError": 1}


def test_late_answers_are_ok_and_no_goodput():
    result = report(sample(1, 0.1), sample(2, 0.3), deadline_ms=200, images_per_request=8)
    assert (result.counts.ok, result.counts.late) == (2, 1)
    assert (result.goodput_per_s, result.goodput_images_per_s) == pytest.approx((0.1, 0.8))
    without = report(sample(1, 0.1), sample(2, 0.3), images_per_request=8)
    assert (without.counts.late, without.goodput_per_s) == (0, pytest.approx(0.2))


def test_rates_are_of_what_ended_within_the_window():
    result = report(sample(1), sample(9.5, 2.0), sample(-1, 3.0))
    assert result.answered_per_s == pytest.approx(0.2)
    assert (result.counts.sent, result.counts.ok) == (2, 2)


def test_the_values_of_retry_after_are_tallied():
    busy = [sample(k, status=503, retry_after="1" if k < 3 else "2") for k in range(5)]
    assert report(*busy).retry_after == {"1": 3, "2": 2}


def test_a_late_or_busy_generator_is_warned_of_and_a_punctual_one_is_not():
    late = Sample(1.0, 1.006, 1.01, 200)
    assert "6.0 ms late at the 99th percentile" in report(late).warnings[0]
    assert "95% of its core" in report(sample(1), cpu_share=0.95).warnings[0]
    assert report(sample(1)).warnings == []
