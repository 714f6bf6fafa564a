"""Closed loop: as many requests as the server answers, from a fixed number of connections.

wrk (one thread, the same for every system) counts an answer above 399 as an error. A run's rate is
that of the answers that were none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("rotate.lua")
TIMEOUT_S = 10
GRACE_S = 30.0


class LoadGeneratorError(Exception):
    """A load generator is missing or said something unexpected."""


@dataclass(frozen=True)
class ClosedLoop:
    """What wrk saw; latencies in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]

    @property
    def answered_per_s(self) -> float:
        """Return the requests per second that were answered well."""
        return (self.requests - self.errors["status"]) / self.seconds


def run_wrk(url: str, folder: Path, connections: int, seconds: float) -> ClosedLoop:
    """Send the bodies of a folder (`Bodies.write`) for some seconds.

    Raises:
        LoadGeneratorError: wrk is not installed, or failed.
    """
    if shutil.which("wrk") is None:
        raise LoadGeneratorError("wrk is not installed; apt-get install wrk")
    count = len(list(folder.glob("*.body")))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += ["--timeout", f"{TIMEOUT_S}s", "-s", str(SCRIPT), url, "--", str(folder), str(count)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("JSON ")]
    if run.returncode or not lines:
        raise LoadGeneratorError(f"wrk ended with {run.returncode}: {run.stderr or run.stdout}")
    return ClosedLoop(**json.loads(lines[0].removeprefix("JSON ")))
