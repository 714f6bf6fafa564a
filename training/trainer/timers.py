"""The clock of a run's phases: `build`, `prepare` and `train`, as the speed records count them.

build     import, construct and read: what does not depend on the run
prepare   place the data, compute the whitening: charged, since every run needs it
train     steps, averaging, recalibration: charged; tests are not
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

Phase = Literal["build", "prepare"]


@dataclass
class PhaseClock:
    """Seconds of each phase, on a clock that no one sets."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Add the time inside to the phase; the device's queue is waited for at both ends."""
        self._wait()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
