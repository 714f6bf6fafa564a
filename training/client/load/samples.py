"""What is recorded of each request of a load."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times in seconds of one clock.

    `scheduled` is when it was due and `sent` when the generator came to it: they differ by the
    generator's own lag. Without an answer `status` is None and `failure` names the error.
    """

    scheduled: float
    sent: float
    ended: float
    status: int | None
    failure: str | None = None
    retry_after: str | None = None
    mismatches: int = 0

    @property
    def latency_s(self) -> float:
        """What a caller saw who came on schedule."""
        return self.ended - self.scheduled

    @property
    def service_s(self) -> float:
        """What the server took, from the sending on."""
        return self.ended - self.sent

    @property
    def lag_s(self) -> float:
        """How late the generator was."""
        return self.sent - self.scheduled

    @property
    def accepted(self) -> bool:
        """Whether it was answered with predictions."""
        return self.status == HTTPStatus.OK

    @property
    def rejected(self) -> bool:
        """Whether the server refused it for want of room."""
        return self.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Window:
    """The time of a load that counts: what comes before it only warms up."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start

    def __contains__(self, time: float) -> bool:
        return self.start <= time < self.end


@dataclass
class Recording:
    """All samples of one load, and of the generator: its share of one core, and what it held back.

    `held_back` requests were due when as many were under way as may be, and waited for one to end.
    """

    window: Window
    samples: list[Sample] = field(default_factory=list)
    cpu_share: float = 0.0
    held_back: int = 0
