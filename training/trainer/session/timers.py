"""Seconds of a session by what they went into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch


@dataclass
class Timers:
    """Seconds by name, on a monotonic clock, as the speed records count them.

    build     import, construct and read: what does not depend on the run
    prepare   place the data, compute the whitening: charged, since every run needs it
    train     steps, averaging, PreciseBN: charged, and timed by the loop itself; tests are not
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: Literal["build", "prepare"]) -> Iterator[None]:
        """Add the time inside; the device's queue is waited for at both ends."""
        self._synchronize()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._synchronize()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
