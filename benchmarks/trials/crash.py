"""SIGKILL of one worker while 32 clients ask: who notices, and for how long?

A closed-loop client has one request in flight, so the killed worker held at most as many as it had
connections. Capacity is back when a process that was not there before answers on a connection that
it accepted itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.rig.exchange import Client, Request, run_clients
from benchmarks.rig.sockets import connections_by_process
from benchmarks.trials.bench import requests, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rig.server import Server

CLIENTS = 32
LONGEST_RETURN_S = 20.0
PROBE_S = 0.02
READY = Request(-1, "/health/ready", {}, b"", "GET")


def crash_trial(arguments: Sequence[str], seconds: float) -> dict[str, object]:
    """Kill the worker with most connections, and watch."""
    with served(arguments) as server:
        return asyncio.run(kill_under_load(server, seconds))


async def kill_under_load(server: Server, seconds: float) -> dict[str, object]:
    """Kill the worker with most connections after half of the time, and watch on."""
    ended = asyncio.Event()
    load = asyncio.create_task(run_clients(server.port, requests(), CLIENTS, ended.is_set))
    await asyncio.sleep(seconds / 2)
    before = {pid: ports for pid, ports in _held(server).items() if ports}
    if set(before) <= {server.process.pid}:
        ended.set()
        await load
        return {"left_out": "the server is one process; give it --workers 2"}
    victim = max(before, key=lambda pid: len(before[pid]))
    in_flight = len(_held(server)[victim])
    known = set(server.pids())
    killed_at = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    back_s = await _capacity_back_s(server, known, killed_at)
    await asyncio.sleep(seconds / 2)
    ended.set()
    exchanges = await load
    failed = [exchange for exchange in exchanges if not exchange.good]
    return {
        "clients": CLIENTS,
        "workers_with_connections": len(before),
        "requests": len(exchanges),
        "connections_of_the_killed_worker": in_flight,
        "failed": len(failed),
        "failed_endings": dict(Counter(e.ending for e in failed)),
        "failed_statuses": dict(Counter(str(e.status) for e in failed if e.status)),
        "failed_before_the_kill": sum(e.ended_at < killed_at for e in failed),
        "last_failure_after_s": round(max((e.ended_at - killed_at for e in failed), default=0), 3),
        "capacity_back_after_s": back_s,
        "new_processes": len(set(server.pids()) - known),
    }


async def _capacity_back_s(server: Server, known: set[int], killed_at: float) -> float | None:
    """Return the seconds until a new process answers that it is ready; None after 20 seconds."""
    while time.perf_counter() - killed_at < LONGEST_RETURN_S:
        client = Client(server.port)
        exchange = await client.exchange(READY)
        port, held = client.local_port(), _held(server)
        await client.close()
        if exchange.good and any(port in ports for pid, ports in held.items() if pid not in known):
            return round(exchange.ended_at - killed_at, 3)
        await asyncio.sleep(PROBE_S)
    return None


def _held(server: Server) -> dict[int, set[int]]:
    return connections_by_process(server.port, server.pids())
