"""Half of the peak, and four times the peak.

The peak is what wrk gets from 64 connections (single images) or 4 (64 images each) of the same
server, just before. The server's deadline is set for the trial: an answer that takes longer than
that, as the client sees it, is late.
"""

from __future__ import annotations

import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rig.open_loop import run_open_loop
from benchmarks.rig.sockets import waiting_to_be_accepted
from benchmarks.rig.wrk import run_wrk
from benchmarks.serving_answers import WrongAnswerError, prepared
from benchmarks.trials.bench import INFER, PREDICT, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.rig.open_loop import OpenLoop
    from benchmarks.rig.server import Server
    from benchmarks.serving_systems import Route

OVERLOADS = (2.0, 4.0)  # times the peak
NORMAL_ANSWERS = 25
LONGEST_RECOVERY_S = 20.0
SAMPLE_S = 0.25
SAMPLE_TIMEOUT_S = 1.0
HALF_LOAD_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Offer:
    """What is sent, and the time that each request may take."""

    route: Route
    connections: int  # of the closed loop that finds the peak
    deadline_ms: int


SINGLE = Offer(PREDICT, connections=64, deadline_ms=250)
BATCHES = Offer(INFER, connections=4, deadline_ms=1000)


def load_trial(arguments: Sequence[str], offer: Offer, seconds: float) -> dict[str, object]:
    """Measure peak, half load, and each overload with its recovery, on one server."""
    with served(arguments, FOLDNORM_DEADLINE_MS=str(offer.deadline_ms)) as server:
        peak_per_s = _peak(server, offer, seconds / 2)
        half = _open_loop(server, offer, peak_per_s / 2, seconds, HALF_LOAD_PATIENCE_S)
        calm_p99_ms = _percentile(half.latencies_ms(200), 99)
        calm = Calm(peak_per_s, calm_p99_ms)
        overloads = {
            f"overload_{times:g}x": _overload(server, offer, calm, times, seconds)
            for times in OVERLOADS
        }
    return {
        "deadline_ms": offer.deadline_ms,
        "peak_requests_per_s": round(peak_per_s, 1),
        "half_load": {
            **_rates(half),
            "p50_ms": _percentile(half.latencies_ms(200), 50),
            "p99_ms": calm_p99_ms,
            "p99_to_p50": _ratio(calm_p99_ms, _percentile(half.latencies_ms(200), 50)),
        },
        **overloads,
    }


@dataclass(frozen=True)
class Calm:
    """What the server does when it is not overloaded."""

    peak_per_s: float
    p99_ms: float | None  # at half load


def _overload(
    server: Server, offer: Offer, calm: Calm, times: float, seconds: float
) -> dict[str, object]:
    before_mib = sum(server.memory_mib())
    with Watch(server, offer.route) as watch:
        rate = times * calm.peak_per_s
        over = _open_loop(server, offer, rate, seconds, 2 * offer.deadline_ms / 1000)
    normal_after_s = recovery_s(server, offer.route, over.last_sent_at, calm.p99_ms)
    time.sleep(1.0)
    after_mib = sum(server.memory_mib())
    accepted, rejected = over.latencies_ms(200), over.latencies_ms(503)
    goodput_per_s = over.per_second(200, offer.deadline_ms)
    return {
        **_rates(over),
        "sent_to_peak": _ratio(over.sent_per_s, calm.peak_per_s),
        "accepted": len(accepted),
        "accepted_late": int((accepted > offer.deadline_ms).sum()),
        "accepted_p50_ms": _percentile(accepted, 50),
        "accepted_p99_ms": _percentile(accepted, 99),
        "accepted_max_ms": _percentile(accepted, 100),
        "rejected": len(rejected),
        "rejected_p50_ms": _percentile(rejected, 50),
        "rejected_p99_ms": _percentile(rejected, 99),
        "rejected_share_under_20_ms": _share(rejected < 20.0),
        "other": len(over.status) - len(accepted) - len(rejected),
        "goodput_per_s": round(goodput_per_s, 1),
        "goodput_to_peak": _ratio(goodput_per_s, calm.peak_per_s),
        "sampled_503": watch.refused,
        "sampled_503_without_retry_after": watch.without_retry_after,
        "most_connections_not_accepted": max(watch.unaccepted, default=0),
        "memory_mib": {
            "before": round(before_mib, 1),
            "largest_during": round(max(watch.memory_mib, default=0.0), 1),
            "after": round(after_mib, 1),
        },
        "normal_after_s": normal_after_s,
    }


class Watch:
    """Looks at memory and at the headers of refusals while a load runs."""

    def __init__(self, server: Server, route: Route) -> None:
        self.memory_mib: list[float] = []
        self.unaccepted: list[int] = []
        self.refused = 0
        self.without_retry_after = 0
        self._server = server
        self._route = route
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.memory_mib.append(sum(self._server.memory_mib()))
            self.unaccepted.append(waiting_to_be_accepted(self._server.port))
            status, retry_after = ask(self._server, self._route, SAMPLE_TIMEOUT_S)
            if status == 503:
                self.refused += 1
                self.without_retry_after += retry_after is None


def ask(server: Server, route: Route, timeout_s: float = 10.0) -> tuple[int, str | None]:
    """Return the status of one request on a fresh connection, and its `Retry-After`; 0 for none."""
    bodies = prepared(route.body)
    request = urllib.request.Request(
        server.url + route.path, data=bodies.contents[0], headers=bodies.headers
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            answer.read()
            return int(answer.status), None
    except urllib.error.HTTPError as error:
        error.read()
        return error.code, error.headers["Retry-After"]
    except OSError:
        return 0, None


def recovery_s(
    server: Server, route: Route, ended_at: float, calm_p99_ms: float | None
) -> float | None:
    """Return the seconds from the last request of the overload until all is normal.

    That is when 25 answers in a row, asked for one after the other, are good and as fast as at half
    load.

    "As fast" means within twice the p99 of half load. None if that takes over 20 seconds.
    """
    limit_ms = 2 * (calm_p99_ms or 0.0)
    first_good, in_a_row = time.perf_counter(), 0
    while time.perf_counter() - ended_at < LONGEST_RECOVERY_S:
        asked = time.perf_counter()
        status, _ = ask(server, route)
        answered = time.perf_counter()
        if status != 200 or (answered - asked) * 1000 > limit_ms:
            in_a_row = 0
            continue
        first_good = asked if in_a_row == 0 else first_good
        in_a_row += 1
        if in_a_row == NORMAL_ANSWERS:
            return round(max(0.0, first_good - ended_at), 3)
    return None


def _peak(server: Server, offer: Offer, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        bodies = prepared(offer.route.body).write(Path(folder) / "bodies")
        url = server.url + offer.route.path
        run_wrk(url, bodies, offer.connections, 1)
        peak_per_s = run_wrk(url, bodies, offer.connections, seconds).answered_per_s
    if peak_per_s <= 0:
        raise WrongAnswerError(f"{offer.route.path} answered no request with 200; see its log")
    return peak_per_s


def _open_loop(
    server: Server, offer: Offer, rate_per_s: float, seconds: float, patience_s: float
) -> OpenLoop:
    bodies = prepared(offer.route.body)
    return run_open_loop(server.url + offer.route.path, bodies, rate_per_s, seconds, patience_s)


def _rates(loop: OpenLoop) -> dict[str, object]:
    return {
        "offered_per_s": round(loop.offered_per_s, 1),
        "sent_per_s": round(loop.sent_per_s, 1),
        "connections": loop.connections,
        "statuses": loop.counts(),
    }


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if len(values) else None


def _share(holds: NDArray[np.bool_]) -> float | None:
    return round(float(holds.mean()), 4) if len(holds) else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return round(value / reference, 3) if value is not None and reference else None
