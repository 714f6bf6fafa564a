"""Whether the process takes new work, and how much it has in progress."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import DrainingError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_AFTER_S = 1.0  # a request lasts a fraction of it, and another process starts in about that
DEFAULT_HELD_BYTES = 128 * 1024 * 1024


class Lifecycle:
    """Counts the requests in progress and refuses new ones when full or draining."""

    def __init__(self, max_requests: int, max_held_bytes: int = DEFAULT_HELD_BYTES) -> None:
        self._max_requests = max_requests
        self._max_held_bytes = max_held_bytes
        self.working = 0
        self.in_progress = 0
        self.held_bytes = 0
        self.draining = False
        self.parting = False  # whether every answer says that its connection ends

    def start_draining(self) -> None:
        """Take nothing new from now on."""
        self.draining = self.parting = True

    def hold(self, count: int) -> None:
        """Count bytes of a body that came in, until they are released.

        Raises:
            OverloadedError: all bodies together would take too much memory.
        """
        if self.held_bytes + count > self._max_held_bytes:
            raise OverloadedError(
                f"the requests in progress hold {self.held_bytes:,} bytes and this one brings "
                f"{count:,} more; at most {self._max_held_bytes:,} are held; try again later",
                RETRY_AFTER_S,
            )
        self.held_bytes += count

    def release(self, count: int) -> None:
        """Forget the bytes of a request that was answered."""
        self.held_bytes -= count

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count a request that brings images, whose body is held in memory meanwhile.

        Raises:
            DrainingError: the process is about to stop.
            OverloadedError: too many are in progress.
        """
        self.check_admission()
        if self.working >= self._max_requests:
            raise OverloadedError(
                f"{self.working} requests with images are in progress, at most "
                f"{self._max_requests} may be; try again later",
                RETRY_AFTER_S,
            )
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    def check_admission(self) -> None:
        """Refuse what arrives after draining began.

        Raises:
            DrainingError: the process is about to stop.
        """
        if self.draining:
            raise DrainingError(
                "this process is about to stop and takes nothing new; try again elsewhere or "
                "when it is back",
                RETRY_AFTER_S,
            )
