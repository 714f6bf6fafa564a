from __future__ import annotations

import asyncio
import signal

import pytest
import uvicorn

from service.api.admission import Admission
from service.processes.draining_server import DrainingServer
from tests.clock import Clock


async def no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("nothing is requested")


class Harness:
    """A server that listens nowhere: signals in, ticks out."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.admission = Admission(max_requests=9)
        config = uvicorn.Config(no_app, log_config=None)
        config.load()
        self.server = DrainingServer(config, self.admission, 20.0, self.clock)

    def signal(self, number: int) -> None:
        self.server.handle_exit(number, None)

    def stops(self) -> bool:
        return asyncio.run(self.server.on_tick(1))


@pytest.fixture
def harness() -> Harness:
    return Harness()


def test_a_server_without_a_signal_goes_on(harness: Harness) -> None:
    assert not harness.stops()


def test_an_idle_server_stops_at_the_next_tick(harness: Harness) -> None:
    harness.signal(signal.SIGTERM)
    assert harness.admission.draining
    assert harness.stops()


def test_a_busy_server_waits_for_its_requests(harness: Harness) -> None:
    harness.admission.in_progress += 1
    harness.signal(signal.SIGTERM)
    assert not harness.stops()
    harness.admission.in_progress -= 1
    assert harness.stops()


def test_draining_does_not_last_longer_than_it_may(harness: Harness) -> None:
    harness.admission.in_progress += 1
    harness.signal(signal.SIGTERM)
    harness.clock.now += 19.9
    assert not harness.stops()
    harness.clock.now += 0.2
    assert harness.stops()


def test_a_second_sigterm_does_not_prolong_draining(harness: Harness) -> None:
    harness.admission.in_progress += 1
    harness.signal(signal.SIGTERM)
    harness.clock.now += 15.0
    harness.signal(signal.SIGTERM)
    harness.clock.now += 5.0
    assert harness.stops()


def test_a_second_interrupt_stops_at_once(harness: Harness) -> None:
    harness.admission.in_progress += 1
    harness.signal(signal.SIGINT)
    assert not harness.stops()
    harness.signal(signal.SIGINT)
    assert harness.stops()
    assert harness.server.force_exit
