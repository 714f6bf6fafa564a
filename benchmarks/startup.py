"""How long `foldnorm-serve` takes to its first answer, and what it holds in memory then.

    python -m benchmarks.startup [--rounds 7] [--output benchmarks/results/startup.json]

Each round starts a process on a free port and asks it for a prediction until it answers. The clock
runs from the start of the process to the last byte of that answer. Memory is the process's resident
set after 100 further predictions. The last line of the output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "frog.png"
LONGEST_START_S = 60.0
PREDICTIONS = 100


@dataclass(frozen=True)
class Start:
    """One round."""

    first_answer_s: float
    resident_mib: float


def main() -> None:
    """Measure, print and perhaps write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rounds = [measure_start() for _ in range(arguments.rounds)]
    text = json.dumps(_summary(rounds))
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def measure_start() -> Start:
    """Start a service, wait for its first answer, look at its memory and stop it."""
    port = _free_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "foldnorm-serve"],
        env={**os.environ, "FOLDNORM_PORT": str(port)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_answer(port, started)
        elapsed = time.perf_counter() - started
        for _ in range(PREDICTIONS):
            _predict(port)
        return Start(elapsed, _resident_mib(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_for_answer(port: int, started: float) -> None:
    while time.perf_counter() - started < LONGEST_START_S:
        try:
            return _predict(port)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.005)
    raise TimeoutError(f"no answer within {LONGEST_START_S} s")


def _predict(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/predict",
        data=IMAGE.read_bytes(),
        headers={"Content-Type": "image/png"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _summary(rounds: list[Start]) -> dict[str, object]:
    return {
        "benchmark": "startup",
        "first_answer_s": _spread([start.first_answer_s for start in rounds]),
        "resident_mib": _spread([start.resident_mib for start in rounds]),
        "rounds": [asdict(start) for start in rounds],
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "onnxruntime-gpu": version("onnxruntime-gpu"),
        },
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


if __name__ == "__main__":
    main()
