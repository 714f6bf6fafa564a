from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.admission import Admission
from service.api.middleware.access_log import UNAVAILABLE_LINES_A_SECOND, AccessMiddleware
from service.errors import OverloadedError
from service.observability.prometheus import ServiceMetrics
from service.settings import AccessLog

Caplog = pytest.LogCaptureFixture

START = {"type": "http.response.start", "status": 503, "headers": []}
END = {"type": "http.response.body", "body": b""}


class Harness:
    def __init__(self) -> None:
        self.metrics = ServiceMetrics()
        self.admission = Admission(max_requests=1, max_held_bytes=100)
        self.body: list[bytes] = []
        self.now = 100.0
        self.sent: list[Message] = []
        self.log_as("all")

    def log_as(self, access_log: AccessLog) -> None:
        self._logged_as: AccessLog = access_log
        self._middleware: dict[ASGIApp, AccessMiddleware] = {}

    def answer(self, app: ASGIApp, **scope: Any) -> None:
        body = iter(self.body)

        async def receive() -> Message:
            return {"type": "http.request", "body": next(body, b"")}

        async def send(message: Message) -> None:
            assert self.admission.in_progress == 1
            self.sent.append(message)

        request = {
            "type": "http",
            "method": "GET",
            "path": "/secret/42",
            "state": {"request_id": "id-1"},
        }
        if app not in self._middleware:
            self._middleware[app] = AccessMiddleware(
                app, self.metrics, self.admission, self._logged_as, lambda: self.now
            )
        asyncio.run(self._middleware[app](request | scope, receive, send))


@pytest.fixture
def harness(caplog: Caplog) -> Harness:
    caplog.set_level(logging.INFO, logger="foldnorm.access")
    return Harness()


async def refuses(scope: Scope, _receive: Receive, send: Send) -> None:
    scope["route"] = SimpleNamespace(path="/secret/{id}")
    scope["state"] |= {"problem": "overloaded", "images": 3}
    await send(START)
    await send(END)


async def fails_after_answering(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    await send(END)
    raise ZeroDivisionError


def test_a_request_is_one_log_line(harness: Harness, caplog: Caplog) -> None:
    harness.answer(refuses)
    (record,) = caplog.records
    fields = dict(record.fields)
    assert fields.pop("duration_ms") >= 0
    assert fields == {
        "request_id": "id-1",
        "method": "GET",
        "path": "/secret/42",
        "status": 503,
        "images": 3,
        "problem": "overloaded",
    }


def test_requests_are_counted_by_template_and_not_by_path(harness: Harness) -> None:
    harness.answer(refuses)
    harness.answer(refuses, method="BREW")
    harness.answer(fails_after_answering)
    text = harness.metrics.render().decode()
    assert 'foldnorm_requests_total{method="GET",route="/secret/{id}",status="503"} 1.0' in text
    assert 'foldnorm_requests_total{method="other",route="/secret/{id}",status="503"} 1.0' in text
    assert 'foldnorm_requests_total{method="GET",route="unmatched",status="503"} 1.0' in text
    assert 'foldnorm_rejections_total{reason="overloaded"} 2.0' in text
    assert "/secret/42" not in text


def test_an_answered_failure_ends_here_with_its_reason_in_the_log(
    harness: Harness, caplog: Caplog
) -> None:
    harness.answer(fails_after_answering)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def answers(status: int) -> ASGIApp:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"a", b"b")]})
        await send(END)

    return application


@pytest.mark.parametrize(
    ("access_log", "logged"),
    [("all", [200, 304, 404, 500, 503]), ("errors", [404, 500, 503]), ("off", [])],
)
def test_only_what_is_asked_for_is_logged(
    harness: Harness, caplog: Caplog, access_log: AccessLog, logged: list[int]
) -> None:
    harness.log_as(access_log)
    for status in (200, 304, 404, 500, 503):
        harness.answer(answers(status))
    assert [record.fields["status"] for record in caplog.records] == logged


def test_a_failure_is_logged_even_when_nothing_else_is_and_all_are_counted(
    harness: Harness, caplog: Caplog
) -> None:
    harness.log_as("off")
    harness.answer(answers(200))
    harness.answer(fails_after_answering)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    counted = 'foldnorm_requests_total{method="GET",route="unmatched",status="200"} 1.0'
    assert counted in harness.metrics.render().decode()


def test_of_a_flood_of_refusals_a_few_are_logged_and_the_rest_counted(
    harness: Harness, caplog: Caplog
) -> None:
    app = answers(503)
    for _ in range(250):
        harness.answer(app)
    assert len(caplog.records) == UNAVAILABLE_LINES_A_SECOND
    assert not any("not_logged" in record.fields for record in caplog.records)
    harness.now += 1
    caplog.clear()
    harness.answer(app)
    harness.answer(app)
    first, second = (record.fields for record in caplog.records)
    assert first["not_logged"] == 250 - UNAVAILABLE_LINES_A_SECOND
    assert "not_logged" not in second


def test_the_bytes_of_a_body_are_held_until_its_answer(harness: Harness) -> None:
    held = []

    async def reads(_scope: Scope, receive: Receive, send: Send) -> None:
        for _ in harness.body:
            await receive()
            held.append(harness.admission.held_bytes)
        await send(START)
        await send(END)
        held.append(harness.admission.held_bytes)

    harness.body = [b"four", b"", b"threes"]
    harness.answer(reads)
    assert held == [4, 4, 10, 10]
    assert harness.admission.held_bytes == 0


def test_a_body_that_there_is_no_room_for_is_refused_and_what_it_held_given_back(
    harness: Harness,
) -> None:
    async def reads(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(OverloadedError, match="hold 60 bytes and this one brings 41 more"):
            await receive()
        await send(START)
        await send(END)

    harness.body = [b"x" * 60, b"y" * 41]
    harness.answer(reads)
    assert harness.admission.held_bytes == 0


def test_a_failure_in_the_middle_reaches_the_server_and_gives_back_what_was_held(
    harness: Harness,
) -> None:
    async def fails(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        raise ZeroDivisionError

    harness.body = [b"x" * 60]
    with pytest.raises(ZeroDivisionError):
        harness.answer(fails)
    assert (harness.admission.in_progress, harness.admission.held_bytes) == (0, 0)


def test_a_process_that_is_about_to_stop_closes_the_connections(harness: Harness) -> None:
    app = answers(200)
    harness.answer(app)
    harness.admission.start_draining()
    harness.answer(app)
    before, after = (m["headers"] for m in harness.sent if m["type"] == "http.response.start")
    assert before == [(b"a", b"b")]
    assert after == [(b"a", b"b"), (b"connection", b"close")]
