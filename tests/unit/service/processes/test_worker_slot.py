"""What becomes of a place when its process ends, in the orders in which that can be noticed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from service.processes.channel import Line
from service.processes.sockets import open_listeners, port_of
from service.processes.worker_slot import WorkerPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets shared over one port")
HOST = "127.0.0.1"


@pytest.fixture
def place() -> Iterator[WorkerPlace]:
    """A place whose process starts, beside another one that listens on the same port."""
    mine, other = open_listeners(HOST, 0, 2)
    ours, theirs = socket.socketpair()
    place = WorkerPlace(1, mine)
    with other, ours, theirs, subprocess.Popen(["sleep", "60"]) as process:
        place.begin(process.pid, Line(ours), 60)
        yield place
        process.kill()
    place.listener.close()


def waits_in(listener: socket.socket) -> bool:
    """Whether the kernel would let callers wait at a socket."""
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def test_callers_wait_for_the_successor_of_a_worker_that_has_served(place: WorkerPlace) -> None:
    place.serve()
    assert place.served
    place.vacate(HOST)
    assert waits_in(place.listener)


@pytest.mark.parametrize("hung_up_first", [False, True])
def test_nobody_waits_for_a_worker_that_never_served(
    place: WorkerPlace, hung_up_first: bool
) -> None:
    port = port_of(place.listener)
    if hung_up_first:  # its line ends a moment before the process does
        place.leave(60)
    assert not place.served
    place.vacate(HOST)
    assert not waits_in(place.listener)
    assert port_of(place.listener) == port


def test_who_served_long_is_no_early_death_though_it_took_long_to_leave(
    place: WorkerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("service.processes.worker_slot.time.monotonic", lambda: now)
    place.serve()
    now += 3600
    place.leave(60)
    assert place.vacate(HOST) == 0.0
    with socket.socket() as line:
        place.begin(os.getpid(), Line(line), 60)
        now += 1
        place.serve()
        now += 1
        assert place.vacate(HOST) > 0.0
