"""SIGTERM while 32 clients ask: is an accepted request ever lost?"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.rig.exchange import run_clients
from benchmarks.trials.bench import requests, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rig.exchange import Exchange
    from benchmarks.rig.server import Server

CLIENTS = 32
LONGEST_EXIT_S = 30.0


def shutdown_trial(arguments: Sequence[str], seconds: float) -> dict[str, object]:
    """Stop the server half-way, and count how requests ended."""
    with served(arguments) as server:
        return stop_under_load(server, seconds)


def stop_under_load(server: Server, seconds: float) -> dict[str, object]:
    """Stop a server half-way, and count how requests ended."""
    exchanges, asked_at, ended_at = asyncio.run(_stop_under_load(server, seconds))
    lost = [exchange for exchange in exchanges if exchange.lost]
    refused = [exchange for exchange in exchanges if exchange.status == 503]
    return {
        "clients": CLIENTS,
        "requests": len(exchanges),
        "answered": sum(exchange.good for exchange in exchanges),
        "answered_after_sigterm": sum(e.good and e.ended_at > asked_at for e in exchanges),
        "refused_with_503": len(refused),
        "refused_without_retry_after": sum("retry-after" not in e.headers for e in refused),
        "not_connected": sum(e.ending == "not_connected" for e in exchanges),
        "lost": len(lost),
        "lost_that_were_sent_before_sigterm": sum(e.sent_at < asked_at for e in lost),
        "lost_on_fresh_connections": sum(e.fresh_connection for e in lost),
        "lost_endings": dict(Counter(e.ending for e in lost)),
        "other_statuses": dict(
            Counter(str(e.status) for e in exchanges if e.status not in (0, 200, 503))
        ),
        "exit_code": server.process.poll(),
        "exit_after_s": round(ended_at - asked_at, 3),
    }


async def _stop_under_load(server: Server, seconds: float) -> tuple[list[Exchange], float, float]:
    """Return the exchanges, when SIGTERM was sent, and when the process was gone."""
    load = asyncio.create_task(
        run_clients(server.port, requests(), CLIENTS, lambda: server.process.poll() is not None)
    )
    await asyncio.sleep(seconds / 2)
    asked_at = time.perf_counter()
    server.process.terminate()
    try:
        await asyncio.to_thread(server.process.wait, LONGEST_EXIT_S)
    except subprocess.TimeoutExpired:
        server.process.kill()
    ended_at = time.perf_counter()
    return await load, asked_at, ended_at
