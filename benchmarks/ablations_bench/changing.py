"""A change of models: how long, what it costs those who ask meanwhile, and what it takes.

The folder of artifacts is a copy, in which a newer release of the network appears, and then a
damaged one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from benchmarks.ablations_bench.arrivals import keep_coming
from benchmarks.ablations_bench.trees import served
from benchmarks.rig.exchange import Client, run_clients
from benchmarks.serving_systems import MODEL_NAME, served_artifact
from benchmarks.trials.bench import requests
from benchmarks.trials.reload import LOAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ablations_bench.rounds import Values
    from benchmarks.ablations_bench.trees import Tree
    from benchmarks.rig.exchange import Exchange
    from benchmarks.rig.server import Server

CLIENTS = 16
ARRIVALS_PER_S = 100.0
CALM_S = 2.0  # before and after the change
SAMPLE_S = 0.02
ASKED = 24  # fresh connections, over which the kernel spreads the workers
LONGEST_LEAVE_S = 30.0
NEWER = "9.0.0"


def measure_changing(tree: Tree) -> Values:
    """Measure one round of a tree."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = Path(folder) / "artifacts"
        shutil.copytree(served_artifact().parent, artifacts)
        with served(tree, "--artifacts", str(artifacts)) as (server, _):
            processes = len(server.pids())
            values = _idle(server, processes)
            values |= asyncio.run(_kept_connections(server))
            _wait_for(server, processes)
            values |= asyncio.run(_new_connections(server))
            _wait_for(server, processes)
            values |= _followed(server, artifacts)
            _wait_for(server, processes)
            values |= _refused(server, artifacts)
    return values


def _idle(server: Server, processes: int) -> Values:
    before_mib = sum(server.memory_mib())
    with _Memory(server) as memory:
        status, seconds, _ = asyncio.run(_load(server.port))
        left_s = _wait_for(server, processes)
    return {
        "idle_s": seconds,
        "idle_status": float(status),
        "idle_old_gone_after_s": left_s,
        "memory_before_mib": round(before_mib, 1),
        "memory_peak_mib": round(max(memory.mib), 1),
        "memory_after_mib": round(sum(server.memory_mib()), 1),
    }


async def _kept_connections(server: Server) -> Values:
    """Change under clients that keep their connections."""
    ended = asyncio.Event()
    load = asyncio.create_task(run_clients(server.port, requests(), CLIENTS, ended.is_set))
    await asyncio.sleep(CALM_S)
    asked_at = time.perf_counter()
    status, seconds, _ = await _load(server.port)
    done_at = time.perf_counter()
    await asyncio.sleep(CALM_S)
    ended.set()
    exchanges = await load
    calm = _rate(exchanges, asked_at - CALM_S / 2, asked_at)
    during = [e for e in exchanges if asked_at <= e.ended_at <= done_at]
    return {
        "kept_s": seconds,
        "kept_status": float(status),
        "kept_requests": float(len(exchanges)),
        "kept_failed": float(sum(not exchange.good for exchange in exchanges)),
        "kept_opened_again": float(sum(e.fresh_connection for e in exchanges) - CLIENTS),
        "kept_calm_per_s": round(calm, 1),
        "kept_during_per_s": round(_rate(exchanges, asked_at, done_at), 1),
        "kept_during_share": round(_rate(exchanges, asked_at, done_at) / calm, 3),
        "kept_during_p99_ms": _percentile_ms([e.ended_at - e.sent_at for e in during]),
        "kept_lost_work": round(
            (calm - _rate(exchanges, asked_at, done_at)) * (done_at - asked_at), 0
        ),
    }


async def _new_connections(server: Server) -> Values:
    """Change under callers that come at a rate, each on a connection of its own."""
    ended = asyncio.Event()
    load = asyncio.create_task(keep_coming(server.port, requests(), ARRIVALS_PER_S, ended.is_set))
    await asyncio.sleep(CALM_S)
    asked_at = time.perf_counter()
    status, seconds, _ = await _load(server.port)
    done_at = time.perf_counter()
    await asyncio.sleep(CALM_S)
    ended.set()
    calls = await load
    before = [took_s for e, took_s in calls if e.ended_at < asked_at]
    during = [took_s for e, took_s in calls if asked_at <= e.ended_at <= done_at]
    return {
        "new_s": seconds,
        "new_status": float(status),
        "new_requests": float(len(calls)),
        "new_failed": float(sum(not exchange.good for exchange, _ in calls)),
        "new_calm_p99_ms": _percentile_ms(before),
        "new_during_p99_ms": _percentile_ms(during),
    }


def _followed(server: Server, artifacts: Path) -> Values:
    """Load a newer release, and count the answers that do not know it afterwards."""
    newer = artifacts / f"{MODEL_NAME}-{NEWER}"
    shutil.copytree(artifacts / served_artifact().name, newer)
    manifest = json.loads((newer / "manifest.json").read_text(encoding="utf-8"))
    manifest["version"] = NEWER
    (newer / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    status, _, _ = asyncio.run(_load(server.port))
    answers = []
    for _ in range(ASKED):
        with urllib.request.urlopen(f"{server.url}/v1/models") as answer:
            answers.append(answer.read().decode())
    return {
        "newer_status": float(status),
        "newer_unknown_to": float(sum(NEWER not in text for text in answers)),
    }


def _refused(server: Server, artifacts: Path) -> Values:
    """Load a damaged release; the one before has to go on, and the caller to hear why."""
    graph = artifacts / f"{MODEL_NAME}-{NEWER}" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    status, seconds, reason = asyncio.run(_load(server.port))
    exchanges = asyncio.run(_some(server.port))
    return {
        "damaged_status": float(status),
        "damaged_s": seconds,
        "damaged_file_is_named": float("model.onnx" in reason),
        "damaged_failed_afterwards": float(sum(not exchange.good for exchange in exchanges)),
    }


async def _some(port: int) -> list[Exchange]:
    until = time.perf_counter() + 1
    return await run_clients(port, requests(), 4, lambda: time.perf_counter() > until)


async def _load(port: int) -> tuple[int, float, str]:
    """Ask for the change; return the status, the seconds that it took, and the answer."""
    client = Client(port)
    asked_at = time.perf_counter()
    exchange = await client.exchange(LOAD)
    await client.close()
    return exchange.status, round(exchange.ended_at - asked_at, 3), exchange.content.decode()


class _Memory:
    """Samples the memory of all processes of a server."""

    def __init__(self, server: Server) -> None:
        self.mib: list[float] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.mib.append(sum(self._server.memory_mib()))
            if self._over.wait(SAMPLE_S):
                return


def _wait_for(server: Server, processes: int) -> float:
    """Return the seconds until no more processes are left than there were."""
    began_at = time.perf_counter()
    while len(server.pids()) > processes and time.perf_counter() - began_at < LONGEST_LEAVE_S:
        time.sleep(SAMPLE_S)
    return round(time.perf_counter() - began_at, 2)


def _rate(exchanges: Sequence[Exchange], since: float, until: float) -> float:
    good = sum(since <= exchange.ended_at < until and exchange.good for exchange in exchanges)
    return good / (until - since)


def _percentile_ms(seconds: Sequence[float]) -> float | None:
    return round(1000 * float(np.percentile(seconds, 99)), 1) if seconds else None
