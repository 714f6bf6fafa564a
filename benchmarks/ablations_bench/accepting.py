"""Taking connections: a steady load, connections for one request each, and a crowd that comes.

The crowd comes while both workers are busy: with batches of 64 images on few connections, or with
single images on many, under which a turn of the event loop is long because much is ready in each.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.ablations_bench.arrivals import come_at_once
from benchmarks.ablations_bench.trees import served
from benchmarks.rig.exchange import Request
from benchmarks.rig.wrk import run_wrk
from benchmarks.serving_answers import prepared
from benchmarks.trials.bench import INFER, PREDICT, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ablations_bench.rounds import Values
    from benchmarks.ablations_bench.trees import Tree
    from benchmarks.rig.server import Server

STEADY = (16, 64)
STEADY_S = 3.0
CROWD = 256
CROWDS = 3
BUSY = {"batches": (INFER, 8), "singles": (PREDICT, 64)}  # connections
SETTLE_S = 1.0
LIVE = Request(-1, "/health/live", {}, b"", "GET")


def measure_accepting(tree: Tree) -> Values:
    """Measure one round of a tree."""
    with served(tree) as (server, _), tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return {
            **_steady(server, place),
            **_one_request_each(server, place),
            **_crowds(server, place, "batches", "live", itertools.repeat(LIVE)),
            **_crowds(server, place, "batches", "predict", requests()),
            **_crowds(server, place, "singles", "live", itertools.repeat(LIVE)),
            **_crowds(server, place, "singles", "predict", requests()),
        }


def _steady(server: Server, place: Path) -> Values:
    bodies = prepared(PREDICT.body).write(place / "steady")
    run_wrk(server.url + PREDICT.path, bodies, STEADY[0], 1)
    values: Values = {}
    for connections in STEADY:
        loop = run_wrk(server.url + PREDICT.path, bodies, connections, STEADY_S)
        values[f"steady_{connections}_per_s"] = round(loop.answered_per_s, 1)
        values[f"steady_{connections}_p99_ms"] = loop.p99_ms
    return values


def _one_request_each(server: Server, place: Path) -> Values:
    kept = prepared(PREDICT.body)
    closing = replace(kept, headers={**kept.headers, "Connection": "close"})
    bodies = closing.write(place / "closing")
    loop = run_wrk(server.url + PREDICT.path, bodies, STEADY[-1], STEADY_S)
    return {
        "new_connections_per_s": round(loop.answered_per_s, 1),
        "new_connections_p99_ms": loop.p99_ms,
        "new_connections_failed": float(sum(loop.errors.values())),
    }


def _crowds(server: Server, place: Path, load: str, name: str, asked: Iterator[Request]) -> Values:
    """Let crowds come, one after the other, to a server that is busy."""
    route, connections = BUSY[load]
    bodies = prepared(route.body).write(place / f"{load}-{name}")
    seconds = (CROWDS + 1) * SETTLE_S * 1.5
    busy = threading.Thread(
        target=run_wrk, args=(server.url + route.path, bodies, connections, seconds)
    )
    busy.start()
    took_ms, waited_ms, statuses = [], [], []
    for _ in range(CROWDS):
        time.sleep(SETTLE_S)
        calls, waited_s = asyncio.run(come_at_once(server.port, asked, CROWD))
        took_ms += [1000 * took_s for _, took_s in calls]
        statuses += [exchange.status for exchange, _ in calls]
        waited_ms.append(1000 * waited_s)
    busy.join()
    crowd = f"crowd_amid_{load}_{name}"
    return {
        f"{crowd}_p50_ms": round(float(np.percentile(took_ms, 50)), 1),
        f"{crowd}_p99_ms": round(float(np.percentile(took_ms, 99)), 1),
        f"{crowd}_max_ms": round(max(took_ms), 1),
        f"{crowd}_accepted_after_ms": round(max(waited_ms), 1),
        f"{crowd}_refused": float(statuses.count(503)),
        f"{crowd}_failed": float(sum(status not in (200, 503) for status in statuses)),
    }
