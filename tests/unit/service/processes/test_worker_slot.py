"""What becomes of a slot when its process ends, in the orders in which that can be noticed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.processes.channel import Channel
from service.processes.sockets import open_listeners, port_of
from service.processes.worker_slot import WorkerSlot

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets shared over one port")
HOST = "127.0.0.1"


@pytest.fixture
def slot() -> Iterator[WorkerSlot]:
    """A slot whose process starts, beside another one that listens on the same port."""
    mine, other = open_listeners(HOST, 0, 2)
    ours, theirs = socket.socketpair()
    slot = WorkerSlot(1, mine)
    with other, ours, theirs, subprocess.Popen(["sleep", "60"]) as process:
        slot.begin(process.pid, Channel(ours), 60)
        yield slot
        process.kill()
    slot.listener.close()


def waits_in(listener: socket.socket) -> bool:
    """Whether the kernel would let callers wait at a socket."""
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def test_callers_wait_for_the_successor_of_a_worker_that_has_served(slot: WorkerSlot) -> None:
    slot.serve()
    assert slot.served
    slot.reset(HOST)
    assert waits_in(slot.listener)


@pytest.mark.parametrize("hung_up_first", [False, True])
def test_nobody_waits_for_a_worker_that_never_served(slot: WorkerSlot, hung_up_first: bool) -> None:
    port = port_of(slot.listener)
    if hung_up_first:  # its channel ends a moment before the process does
        slot.terminate(60)
    assert not slot.served
    slot.reset(HOST)
    assert not waits_in(slot.listener)
    assert port_of(slot.listener) == port


def test_who_served_long_is_no_early_death_though_it_took_long_to_leave(slot: WorkerSlot) -> None:
    now = 1000.0
    slot.clock = lambda: now
    slot.serve()
    now += 3600
    slot.terminate(60)
    assert slot.reset(HOST) == 0.0
    with socket.socket() as channel:
        slot.begin(os.getpid(), Channel(channel), 60)
        now += 1
        slot.serve()
        now += 1
        assert slot.reset(HOST) > 0.0
