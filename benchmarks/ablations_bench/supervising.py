"""Workers: their rate and its balance, their memory and start, and what a death or a stop costs."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ablations_bench.trees import served
from benchmarks.rig.wrk import run_wrk
from benchmarks.serving_answers import prepared
from benchmarks.trials.bench import PREDICT
from benchmarks.trials.crash import kill_under_load
from benchmarks.trials.shutdown import stop_under_load

if TYPE_CHECKING:
    from benchmarks.ablations_bench.rounds import Values
    from benchmarks.ablations_bench.trees import Tree
    from benchmarks.rig.server import Server

CONNECTIONS = (1, 16, 64)
STEADY_S = 3.0
TRIAL_S = 4.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def measure_supervising(tree: Tree) -> Values:
    """Measure one round of a tree."""
    with served(tree) as (server, cold_start_s):
        values: Values = {"cold_start_s": round(cold_start_s, 3), **_steady(server)}
        values["memory_mib"] = round(sum(server.memory_mib()), 1)
        values["processes"] = float(len(server.pids()))
    with served(tree) as (server, _):
        killed = asyncio.run(kill_under_load(server, TRIAL_S))
    with served(tree) as (server, _):
        stopped = stop_under_load(server, TRIAL_S)
    return {
        **values,
        "kill_workers_with_connections": _number(killed["workers_with_connections"]),
        "kill_connections_held": _number(killed["connections_of_the_killed_worker"]),
        "kill_failed": _number(killed["failed"]),
        "kill_capacity_back_s": _number(killed["capacity_back_after_s"]),
        "stop_lost": _number(stopped["lost"]),
        "stop_not_connected": _number(stopped["not_connected"]),
        "stop_refused_with_503": _number(stopped["refused_with_503"]),
        "stop_exit_code": _number(stopped["exit_code"]),
        "stop_exit_s": _number(stopped["exit_after_s"]),
    }


def _steady(server: Server) -> Values:
    values: Values = {}
    url = server.url + PREDICT.path
    with tempfile.TemporaryDirectory() as folder:
        bodies = prepared(PREDICT.body).write(Path(folder) / "bodies")
        run_wrk(url, bodies, CONNECTIONS[1], 1)
        for connections in CONNECTIONS:
            before = _cpu_seconds(server)
            loop = run_wrk(url, bodies, connections, STEADY_S)
            after = _cpu_seconds(server)
            used = sorted(after[pid] - before.get(pid, 0.0) for pid in after)
            values[f"steady_{connections}_per_s"] = round(loop.answered_per_s, 1)
            values[f"steady_{connections}_p99_ms"] = loop.p99_ms
            values[f"steady_{connections}_busiest_share"] = round(used[-1] / sum(used), 3)
    return values


def _cpu_seconds(server: Server) -> dict[int, float]:
    """Return the processor time of each process so far; the workers' is nearly all of it."""
    seconds = {}
    for pid in server.pids():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return seconds


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
