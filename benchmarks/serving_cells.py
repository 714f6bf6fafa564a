"""One cell of the table: one system under one load in one round."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.rig.server import ROOT, Server
from benchmarks.rig.wrk import run_wrk
from benchmarks.serving_answers import answers, check_answers, prepared

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.rig.bodies import BodyKind
    from benchmarks.serving_systems import Load, System

GRACE_S = 90.0


@dataclass(frozen=True)
class Timing:
    """How long each cell is measured, after how long a warm-up; seconds."""

    seconds: float
    warmup_s: float


@dataclass(frozen=True)
class Cell:
    """What was measured; `failure` says why nothing was."""

    system: str
    load: str
    round: int
    images_per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    memory_mib: list[float] = field(default_factory=list)
    cold_start_s: float | None = None
    failure: str | None = None


class Bench:
    """Measures cells; `folder` is for the request bodies on disk."""

    def __init__(self, folder: Path, timing: Timing) -> None:
        self._folder = folder
        self._timing = timing

    def cell(self, system: System, load: Load, round_: int) -> Cell:
        """Measure one cell."""
        if system.images_per_run:
            return self._in_process(system, load, round_)
        return self._served(system, load, round_)

    def _in_process(self, system: System, load: Load, round_: int) -> Cell:
        images_per_run = load.images if load.job == "arrays" else system.images_per_run
        words = ["--job", load.job, "--images-per-run", str(images_per_run)]
        words += ["--seconds", str(self._timing.seconds), "--warmup", str(self._timing.warmup_s)]
        run = subprocess.run(
            [*system.command, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=self._timing.seconds + self._timing.warmup_s + GRACE_S,
        )
        done = json.loads(run.stdout.splitlines()[-1])
        return Cell(
            system=system.name,
            load=load.name,
            round=round_,
            images_per_s=round(done["images_per_s"], 1),
            p50_ms=round(done["p50_ms"], 3),
            p99_ms=round(done["p99_ms"], 3),
            requests=done["runs"],
        )

    def _served(self, system: System, load: Load, round_: int) -> Cell:
        route = system.routes[load.job]
        folder = self._bodies(route.body)
        with Server(system.command, system.environment) as server:
            cold_start_s = server.wait_for_answer(lambda: answers(server, system.routes["png"]))
            server.wait_until_quiet()
            check_answers(server, system, route)
            url = server.url + route.path
            run_wrk(url, folder, load.connections, self._timing.warmup_s)
            loop = run_wrk(url, folder, load.connections, self._timing.seconds)
            memory_mib = server.memory_mib()
        return Cell(
            system=system.name,
            load=load.name,
            round=round_,
            images_per_s=round(loop.answered_per_s * load.images, 1),
            p50_ms=loop.p50_ms,
            p99_ms=loop.p99_ms,
            requests=loop.requests,
            errors=loop.errors,
            memory_mib=memory_mib,
            cold_start_s=round(cold_start_s, 3),
        )

    def _bodies(self, kind: BodyKind) -> Path:
        folder = self._folder / kind
        return folder if folder.exists() else prepared(kind).write(folder)
