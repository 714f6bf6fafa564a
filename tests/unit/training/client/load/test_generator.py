"""Open and closed loop, on a clock that jumps."""

import itertools

import pytest

from training.client.connection import Reply
from training.client.errors import ServerError
from training.client.load.arrivals import arrival_times
from training.client.load.generator import Load, PreparedRequest
from training.client.load.step_report import Step, summarize
from training.client.requests import Payload

OK = Reply(200, {}, b"")
REQUEST = PreparedRequest(Payload("/", {}, b""))


def stalling(_payload, now):
    """Answers within 1 ms, but does not stir between 1 s and 2 s."""
    return OK, 2.001 if 1 <= now < 2 else now + 0.001


def steady(_payload, now):
    return OK, now + 0.001


def make_load(connection, **options):
    options = {"duration_s": 4.0, **options}
    return Load(connection, itertools.repeat(REQUEST), **options)


def open_report(run, connection, rate=100.0, **options):
    recording = run(make_load(connection, **options).open_loop(arrival_times("constant", rate, 0)))
    return summarize(Step(rate=rate), recording)


def closed_report(run, connection, connections=1, **options):
    recording = run(make_load(connection, **options).closed_loop(connections))
    return summarize(Step(connections=connections), recording)


def test_a_stall_shows_in_the_open_loop_for_every_request_that_was_due_in_it(run, fake):
    report = open_report(run, fake(stalling))
    assert report.counts.ok == 400
    # Of 400 requests 4 are beyond the 99th percentile: those due at 1.00, 1.01, 1.02 and 1.03 s.
    assert report.accepted.p99_ms == pytest.approx(961, abs=1)
    assert report.accepted.p90_ms == pytest.approx(601, abs=1)


def test_the_closed_loop_hides_the_same_stall(run, fake):
    report = closed_report(run, fake(stalling))
    assert report.accepted.p99_ms == pytest.approx(1, abs=0.01)
    assert report.accepted.max_ms == pytest.approx(1001, abs=2)


def test_without_a_stall_both_loops_agree(run, fake):
    for report in (open_report(run, fake(steady)), closed_report(run, fake(steady))):
        assert report.accepted.p99_ms == pytest.approx(1, abs=0.01)


def test_the_schedule_does_not_wait_for_answers(run, fake):
    arrivals = []

    def never_in_time(_payload, now):
        arrivals.append(now)
        return OK, now + 60

    open_report(run, fake(never_in_time), rate=10.0, duration_s=1.0)
    assert arrivals == pytest.approx([k / 10 for k in range(10)])


def test_requests_that_wait_for_a_place_count_from_the_schedule_and_are_reported(run, fake):
    def slow(_payload, now):
        return OK, now + 0.1

    report = open_report(run, fake(slow), rate=20.0, duration_s=1.0, max_open=1)
    # One answer each 0.1 s, one request due each 0.05 s: the 20th is sent 0.95 s late.
    assert report.lag.max_ms == pytest.approx(950, abs=1)
    assert report.accepted.max_ms == pytest.approx(1050, abs=1)
    assert report.accepted_service.max_ms == pytest.approx(100, abs=1)
    assert report.held_back == 19
    assert "waited in the generator" in report.warnings[0]


def test_enough_places_hold_nothing_back(run, fake):
    report = open_report(run, fake(steady), rate=20.0)
    assert (report.held_back, report.lag.max_ms) == (0, pytest.approx(0, abs=0.01))


def test_the_warm_up_is_sent_and_not_counted(run, fake):
    connection = fake(steady)
    report = open_report(run, connection, warmup_s=1.0, duration_s=2.0)
    assert (len(connection.payloads), report.counts.sent) == (300, 200)
    assert report.sent_per_s == pytest.approx(100)


def test_a_closed_loop_keeps_its_connections_busy(run, fake):
    def tenth_of_a_second(_payload, now):
        return OK, now + 0.1

    report = closed_report(run, fake(tenth_of_a_second), connections=8)
    assert report.answered_per_s == pytest.approx(80, rel=0.03)
    assert report.lag is None


def test_a_request_without_an_answer_is_counted_by_its_cause(run, fake):
    def broken(_payload, _now):
        raise ServerError("the connection broke off") from ConnectionResetError()

    report = open_report(run, fake(broken), rate=10.0, duration_s=1.0)
    assert report.counts.other == {"ConnectionResetError": 10}
    assert (report.accepted, report.answered_per_s) == (None, 0)


def test_answers_are_checked_only_where_they_were_accepted(run, fake):
    statuses = itertools.cycle((200, 503))

    def alternating(_payload, now):
        return Reply(next(statuses), {}, b""), now

    load = Load(
        fake(alternating), itertools.repeat(PreparedRequest(REQUEST.payload, lambda _reply: 3)), 1.0
    )
    recording = run(load.open_loop(arrival_times("constant", 10.0, 0)))
    assert summarize(Step(rate=10.0, verified=True), recording).mismatches == 15
    assert summarize(Step(rate=10.0), recording).mismatches is None
