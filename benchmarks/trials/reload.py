"""The served model is loaded anew three times while 16 clients ask: does anybody notice?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.rig.exchange import Client, Request, run_clients
from benchmarks.serving_systems import MODEL_NAME
from benchmarks.trials.bench import requests, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rig.server import Server

CLIENTS = 16
RELOADS = 3
LOAD = Request(
    -1,
    f"/v2/repository/models/{MODEL_NAME}/load",
    {"Content-Type": "application/json"},
    b"{}",
)


def reload_trial(arguments: Sequence[str], seconds: float) -> dict[str, object]:
    """Reload under load, and count what failed."""
    with served(arguments) as server:
        return asyncio.run(_reload_under_load(server, seconds))


async def _reload_under_load(server: Server, seconds: float) -> dict[str, object]:
    ended = asyncio.Event()
    load = asyncio.create_task(run_clients(server.port, requests(), CLIENTS, ended.is_set))
    reloads = []
    for _ in range(RELOADS):
        await asyncio.sleep(seconds / (RELOADS + 1))
        client = Client(server.port)
        started_at = time.perf_counter()
        exchange = await client.exchange(LOAD)
        await client.close()
        reloads.append(
            {"status": exchange.status, "seconds": round(exchange.ended_at - started_at, 3)}
        )
    await asyncio.sleep(seconds / (RELOADS + 1))
    ended.set()
    exchanges = await load
    failed = [exchange for exchange in exchanges if not exchange.good]
    return {
        "clients": CLIENTS,
        "reloads": reloads,
        "requests": len(exchanges),
        "failed": len(failed),
        "failed_endings": dict(Counter(e.ending for e in failed)),
        "failed_statuses": dict(Counter(str(e.status) for e in failed if e.status)),
    }
