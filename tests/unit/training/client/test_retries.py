"""Asking a busy server again."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from training.client.connection import Reply
from training.client.errors import ServerError
from training.client.requests import Payload
from training.client.retries import post_patiently, retry_after_s

PAYLOAD = Payload("/", {}, b"")


def scripted(replies):
    script = iter(replies)
    return lambda _payload, now: (next(script), now)


def ask(run, connection, retries=3):
    """Return the reply, what was logged, and the seconds waited."""
    logged = []

    async def timed():
        start = asyncio.get_running_loop().time()
        reply = await post_patiently(connection, PAYLOAD, retries, logged.append)
        return reply, logged, asyncio.get_running_loop().time() - start

    return run(timed())


def test_an_answer_is_taken_at_once(run, fake, problem):
    reply, logged, waited = ask(run, fake(scripted([problem(200)])))
    assert (reply.status, logged, waited) == (200, [], 0)


def test_a_busy_server_is_asked_again_when_it_says_and_the_user_is_told(run, fake, problem):
    busy = [problem(503, "the queue is full", "7"), problem(429, "slow down", "2")]
    reply, logged, waited = ask(run, fake(scripted([*busy, problem(200)])))
    assert (reply.status, waited) == (200, pytest.approx(9))
    assert logged == [
        "the queue is full; trying again in 7 s (retry 1 of 3)",
        "slow down; trying again in 2 s (retry 2 of 3)",
    ]


def test_without_retry_after_a_second_is_waited(run, fake, problem):
    _, _, waited = ask(run, fake(scripted([problem(503), problem(200)])))
    assert waited == pytest.approx(1)


def test_it_gives_up_after_so_many_retries(run, fake, problem):
    connection = fake(scripted([problem(503, "the queue is full", "1")] * 10))
    with pytest.raises(ServerError, match=r"the queue is full \(asked 3 times; --retries"):
        ask(run, connection, retries=2)
    assert len(connection.payloads) == 3


def test_it_does_not_wait_for_minutes(run, fake, problem):
    connection = fake(scripted([problem(503, "closed", "3600")]))
    with pytest.raises(ServerError, match=r"closed; the server asks to wait 3,600 s, at most 60"):
        ask(run, connection)


def test_a_failure_of_the_server_is_not_asked_again(run, fake, problem):
    connection = fake(scripted([problem(500, "the server failed"), problem(200)]))
    with pytest.raises(ServerError, match=r"^the server failed$"):
        ask(run, connection)
    assert len(connection.payloads) == 1


def test_what_the_caller_can_mend_is_returned(run, fake, problem):
    reply, _, _ = ask(run, fake(scripted([problem(422)])))
    assert reply.status == 422


def reply_with(value):
    return Reply(503, {"Retry-After": value}, b"")


def test_retry_after_may_be_a_date():
    then = datetime.now(UTC) + timedelta(seconds=30)
    assert retry_after_s(reply_with(format_datetime(then, usegmt=True))) == pytest.approx(30, abs=2)
    assert retry_after_s(reply_with("Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "²"])
def test_a_retry_after_that_is_neither_is_none(value):
    assert retry_after_s(reply_with(value)) is None
