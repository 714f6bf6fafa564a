"""uvicorn, stopped politely.

    SIGTERM ─► ready answers 503, new work gets 503 ─► requests in progress finish ─► exit 0

uvicorn alone closes its sockets at once, so that a balancer sees refused connections where it
should see "not ready"; and it ends by the signal, which a supervisor takes for a failure.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from service.lifecycle import Lifecycle

logger = logging.getLogger("foldnorm")


class DrainingServer(uvicorn.Server):
    """Stops when nothing is in progress any more, or when `drain_seconds` are over."""

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._drain_until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second Ctrl-C stops at once."""
        if self._drain_until is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._drain_until is None:
            self._drain_until = self._clock() + self._drain_seconds
            self._lifecycle.start_draining()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and log where: with port 0 nothing else says it.

        On a socket that was given, whoever gave it does.
        """
        await super().startup(sockets)
        if sockets is not None:
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        logger.info("serving", extra={"fields": {"url": url}})

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn to stop when draining is over."""
        if self._drain_until is not None and (
            self._lifecycle.in_progress == 0 or self._clock() >= self._drain_until
        ):
            self.should_exit = True
        return await super().on_tick(counter)
