"""The loop wakes up for timers and for sockets."""

import asyncio
import socket
import statistics

import pytest

from training.client.load.event_loop import new_event_loop


@pytest.fixture
def run():
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        yield runner.run


def test_a_timer_does_not_fire_early(run):
    async def oversleep():
        clock = asyncio.get_running_loop().time
        start = clock()
        await asyncio.sleep(0.0025)
        return clock() - start - 0.0025

    assert statistics.median(run(oversleep()) for _ in range(5)) > -1e-6


def test_a_socket_wakes_it_before_its_next_timer(run):
    async def receive():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(0.001, theirs.send, b"x")
            return await asyncio.wait_for(loop.sock_recv(ours, 1), 30)

    assert run(receive()) == b"x"
