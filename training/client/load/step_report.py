"""Samples to figures: rates, counts and percentiles of one step of a load.

Counts and latencies are of the requests that were due within the window. Rates are of what happened
within it: a server that answers later and later has a low rate, not a late one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from training.client.load.samples import Recording, Sample

MAX_LAG_MS = 5.0  # of the 99th percentile: beyond it latencies are the generator's
MAX_CPU_SHARE = 0.9  # of one core


@dataclass(frozen=True)
class Percentiles:
    """Times in milliseconds by nearest rank: each is a time that a request had."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Counts:
    """Requests by how they ended; `late` are those of `ok` that came after the deadline."""

    sent: int
    ok: int
    late: int
    rejected_503: int
    rejected_429: int
    timed_out_504: int
    other: dict[str, int]  # status, or name of the failure where no answer came


@dataclass(frozen=True)
class StepReport:
    """One step. Latencies count from the schedule, service times from the sending."""

    offered_per_s: float | None  # None in a closed loop
    connections: int | None  # None in an open loop
    images_per_request: int
    seconds: float
    sent_per_s: float
    answered_per_s: float
    goodput_per_s: float  # accepted, and in time where there is a deadline
    goodput_images_per_s: float
    counts: Counts
    accepted: Percentiles | None
    rejected: Percentiles | None
    accepted_service: Percentiles | None
    rejected_service: Percentiles | None
    lag: Percentiles | None
    generator_cpu_share: float
    held_back: int
    retry_after: dict[str, int]  # value of the header -> how often
    mismatches: int | None  # None where answers were not checked

    @property
    def warnings(self) -> list[str]:
        """Return why the figures may be the generator's rather than the server's."""
        found = []
        if self.held_back:
            found.append(
                f"{self.held_back:,} requests waited in the generator while as many as --max-open "
                "allows were unanswered; their latency includes that wait, their service time does "
                "not"
            )
        elif self.lag is not None and self.lag.p99_ms > MAX_LAG_MS:
            found.append(
                f"the generator was {self.lag.p99_ms:.1f} ms late at the 99th percentile, at most "
                f"{MAX_LAG_MS:g} are harmless; lower the rate or give it a core of its own"
            )
        if self.generator_cpu_share > MAX_CPU_SHARE:
            found.append(
                f"the generator used {self.generator_cpu_share:.0%} of its core and may have been "
                "the limit; send more images a request, or run several generators"
            )
        return found


@dataclass(frozen=True)
class Step:
    """What was asked for: exactly one of `rate` and `connections` is set."""

    rate: float | None = None
    connections: int | None = None
    images_per_request: int = 1
    deadline_ms: float | None = None
    verified: bool = False


def summarize(step: Step, recording: Recording) -> StepReport:
    """Return the figures of one step."""
    window = recording.window
    due = [sample for sample in recording.samples if sample.scheduled in window]
    ended = [sample for sample in recording.samples if sample.ended in window]
    accepted = [sample for sample in due if sample.accepted]
    rejected = [sample for sample in due if sample.rejected]
    good = sum(1 for sample in ended if sample.accepted and not _late(sample, step))
    sent = sum(1 for sample in recording.samples if sample.sent in window)
    return StepReport(
        offered_per_s=step.rate,
        connections=step.connections,
        images_per_request=step.images_per_request,
        seconds=window.seconds,
        sent_per_s=sent / window.seconds,
        answered_per_s=sum(1 for sample in ended if sample.status) / window.seconds,
        goodput_per_s=good / window.seconds,
        goodput_images_per_s=good * step.images_per_request / window.seconds,
        counts=_counts(due, step),
        accepted=percentiles(sample.latency_s for sample in accepted),
        rejected=percentiles(sample.latency_s for sample in rejected),
        accepted_service=percentiles(sample.service_s for sample in accepted),
        rejected_service=percentiles(sample.service_s for sample in rejected),
        lag=percentiles(sample.lag_s for sample in due) if step.rate is not None else None,
        generator_cpu_share=round(recording.cpu_share, 3),
        held_back=recording.held_back,
        retry_after=_tally(sample.retry_after for sample in due if sample.retry_after),
        # Of every request, warming up or not: a wrong answer is wrong at any time.
        mismatches=sum(s.mismatches for s in recording.samples) if step.verified else None,
    )


def percentiles(seconds: Iterable[float]) -> Percentiles | None:
    """Return the percentiles of times in seconds; None where there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    return Percentiles(
        len(ordered),
        *(round(nearest_rank(ordered, share) * 1000, 3) for share in (0.5, 0.9, 0.99, 0.999, 1.0)),
    )


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    # Rounded first: 0.999 * 1000 is a hair above 999 in binary.
    rank = math.ceil(round(share * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def _late(sample: Sample, step: Step) -> bool:
    return step.deadline_ms is not None and sample.latency_s * 1000 > step.deadline_ms


def _counts(due: Sequence[Sample], step: Step) -> Counts:
    by_status = Counter(sample.status for sample in due)
    named = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
    others = [s for s in due if s.status not in (*named, HTTPStatus.GATEWAY_TIMEOUT)]
    return Counts(
        sent=len(due),
        ok=by_status[HTTPStatus.OK],
        late=sum(1 for sample in due if sample.accepted and _late(sample, step)),
        rejected_503=by_status[HTTPStatus.SERVICE_UNAVAILABLE],
        rejected_429=by_status[HTTPStatus.TOO_MANY_REQUESTS],
        timed_out_504=by_status[HTTPStatus.GATEWAY_TIMEOUT],
        other=_tally(str(sample.status or sample.failure) for sample in others),
    )


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
