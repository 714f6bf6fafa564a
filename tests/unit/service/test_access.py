from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from service.access import AccessMiddleware
from service.lifecycle import Lifecycle
from service.metrics import ServiceMetrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

START = {"type": "http.response.start", "status": 503, "headers": []}
END = {"type": "http.response.body", "body": b""}


class Harness:
    def __init__(self) -> None:
        self.metrics = ServiceMetrics()
        self.lifecycle = Lifecycle(max_requests=1)

    def answer(self, app: ASGIApp, **scope: Any) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(_message: Message) -> None:
            assert self.lifecycle.in_progress == 1

        request = {
            "type": "http",
            "method": "GET",
            "path": "/secret/42",
            "state": {"request_id": "id-1"},
        }
        middleware = AccessMiddleware(app, self.metrics, self.lifecycle)
        asyncio.run(middleware(request | scope, receive, send))


@pytest.fixture
def harness(caplog: pytest.LogCaptureFixture) -> Harness:
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


async def fails_in_the_middle(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(START)
    raise ZeroDivisionError


def test_a_request_is_one_log_line(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
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
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.answer(fails_after_answering)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_failure_in_the_middle_of_an_answer_reaches_the_server(harness: Harness) -> None:
    with pytest.raises(ZeroDivisionError):
        harness.answer(fails_in_the_middle)
    assert harness.lifecycle.in_progress == 0
