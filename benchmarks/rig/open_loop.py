"""Open loop: requests at a fixed rate, whether or not the server keeps up.

h2load sends at a fixed rate on each of many connections, and needs a tenth of the processor time
that a generator in Python needs: on a machine with two cores the generator must not be the load.
Connections are opened one after the other over the first seconds, so that their requests are spread
evenly and do not come in volleys; the rate is steady from `steady_from_s` to `steady_until_s`.

A connection waits for its answer before it sends again. There are enough of them for every request
to be on time as long as answers come within `patience_s`; how much of the offered rate was sent is
part of the result, and latency counts from the sending.
"""

from __future__ import annotations

import math
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rig.wrk import LoadGeneratorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.rig.bodies import Bodies

MOST_CONNECTIONS = 4000
LONGEST_RAMP_S = 2.0
GRACE_S = 60.0


@dataclass(frozen=True)
class OpenLoop:
    """Every request in the order of its end.

    started_s: seconds since the first request, (N,)
    status: HTTP status, or -1 where no answer came, (N,)
    latency_ms: from the sending to the last byte, (N,)
    last_sent_at: when the last request left, on the clock of `time.perf_counter`
    """

    offered_per_s: float
    connections: int
    started_s: NDArray[np.float64]
    status: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    last_sent_at: float
    steady_from_s: float
    steady_until_s: float

    @property
    def sent_per_s(self) -> float:
        """Return the steady rate at which requests really left."""
        return self._steady_rate(self.started_s)

    def latencies_ms(self, status: int) -> NDArray[np.float64]:
        """Return the latencies of the answers with a status."""
        chosen: NDArray[np.float64] = self.latency_ms[self.status == status]
        return chosen

    def counts(self) -> dict[str, int]:
        """Return how many answers had which status."""
        found, counts = np.unique(self.status, return_counts=True)
        return {str(status): int(count) for status, count in zip(found, counts, strict=True)}

    def per_second(self, status: int, most_ms: float) -> float:
        """Return the steady rate of answers with a status and at most a latency."""
        ended_s = self.started_s + self.latency_ms / 1000
        good = (self.status == status) & (self.latency_ms <= most_ms)
        return self._steady_rate(ended_s[good])

    def _steady_rate(self, moments_s: NDArray[np.float64]) -> float:
        steady = (moments_s >= self.steady_from_s) & (moments_s < self.steady_until_s)
        return float(steady.sum() / (self.steady_until_s - self.steady_from_s))


def run_open_loop(
    url: str, bodies: Bodies, rate_per_s: float, seconds: float, patience_s: float
) -> OpenLoop:
    """Send the first body at a rate for some seconds.

    Raises:
        LoadGeneratorError: h2load is not installed, failed or took too long.
    """
    if shutil.which("h2load") is None:
        raise LoadGeneratorError("h2load is not installed; apt-get install nghttp2-client")
    _allow_connections()
    connections = min(MOST_CONNECTIONS, max(16, math.ceil(rate_per_s * patience_s)))
    each_per_s = rate_per_s / connections
    ramp_s = min(LONGEST_RAMP_S, seconds / 4)
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(bodies.contents[0])
        command = ["h2load", "--h1", "-t1", f"-c{connections}", f"--rps={each_per_s:.6f}"]
        command += [f"-n{math.ceil(each_per_s * seconds) * connections}"]
        command += _opening(connections, ramp_s)
        command += [f"--log-file={log}", f"-d{body}"]
        command += [f"-H{name}: {value}" for name, value in bodies.headers.items()]
        try:
            run = subprocess.run(
                [*command, url],
                capture_output=True,
                text=True,
                timeout=seconds + GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadGeneratorError(
                f"h2load was not done {GRACE_S:.0f} s after its time; the server left requests "
                "without an answer"
            ) from error
        if run.returncode or not log.exists():
            raise LoadGeneratorError(f"h2load ended with {run.returncode}: {run.stderr}")
        table = np.loadtxt(log, dtype=np.int64, ndmin=2)
    return _from_log(table, rate_per_s, connections, (1.5 * ramp_s, seconds))


def _opening(connections: int, ramp_s: float) -> list[str]:
    """Return h2load's options that open connections evenly over the ramp.

    It counts in whole connections per whole milliseconds.
    """
    pause_ms = max(1, round(1000 * ramp_s / connections))
    at_once = math.ceil(connections * pause_ms / (1000 * ramp_s))
    return [f"-r{at_once}", f"--rate-period={pause_ms}ms"]


def _from_log(
    table: NDArray[np.int64], rate_per_s: float, connections: int, steady_s: tuple[float, float]
) -> OpenLoop:
    """Return h2load's log; its columns are start in µs since the epoch, status and µs it took."""
    first_us, last_us = table[:, 0].min(), table[:, 0].max()
    return OpenLoop(
        offered_per_s=rate_per_s,
        connections=connections,
        started_s=(table[:, 0] - first_us) / 1e6,
        status=table[:, 1],
        latency_ms=table[:, 2] / 1e3,
        last_sent_at=time.perf_counter() - (time.time() - last_us / 1e6),
        steady_from_s=steady_s[0],
        steady_until_s=steady_s[1],
    )


def _allow_connections() -> None:
    """Let this process and its children open as many files as the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
