"""uvicorn, stopped politely.

    SIGTERM ─► ready answers 503, new work gets 503 ─► requests in progress finish
            ─► whoever knocks is dropped, whoever came in is answered ─► the sockets close ─► exit 0

uvicorn alone closes its sockets at once, so that a balancer sees refused connections where it
should see "not ready", and callers whose connections wait or are between two requests see resets;
and it ends by the signal, which a supervisor takes for a failure.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, cast

import uvicorn

from service.acceptor import Acceptor
from service.listener import refuse_newcomers

if TYPE_CHECKING:
    import socket
    from asyncio.base_events import Server
    from collections.abc import Callable
    from types import FrameType

    from service.lifecycle import Lifecycle

logger = logging.getLogger("foldnorm")

# For callers that hold a connection to send their next request on it: its answer says that the
# connection ends.
FAREWELL_SECONDS = 0.5
SETTLE_SECONDS = 0.1  # for connections that were let in to be accepted and to send their request
TICK_SECONDS = 0.02


class DrainingServer(uvicorn.Server):
    """Stops when nothing is in progress any more, or when `drain_seconds` are over.

    Args:
        config: what uvicorn runs.
        lifecycle: knows what is in progress.
        drain_seconds: longest time from the signal to the end of the last request.
        clock: seconds that only grow.
        url: where it answers, for the log; None where somebody else says it.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        url: str | None = None,
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._url = url
        self._signalled_at: float | None = None
        self._retired_at: float | None = None

    def retire(self) -> None:
        """Leave newcomers to another process on the same socket; answer, and end, those in."""
        self._retired_at = self._clock()
        self._lifecycle.parting = True
        for server in self.servers:
            server.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second Ctrl-C stops at once."""
        if self._signalled_at is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._signalled_at is None:
            self._signalled_at = self._clock()
            self._lifecycle.start_draining()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and log where: with port 0 nothing else says it."""
        if sockets is None or sys.platform == "win32":
            await super().startup(sockets)
        else:
            await super().startup([])  # all of it but the accepting
            self.servers = [cast("Server", Acceptor(one, self._make_protocol)) for one in sockets]
        if self._url is not None:
            logger.info("serving", extra={"fields": {"url": self._url}})

    def _make_protocol(self) -> asyncio.Protocol:
        """Return what reads one connection, as uvicorn itself makes it."""
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn to stop when draining is over."""
        if self._signalled_at is not None and (self._is_drained() or self._seconds_left() <= 0):
            self.should_exit = True
        if self._retired_at is not None and self._is_left(self._clock() - self._retired_at):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer those who came before the sockets close, then close them."""
        if not self.force_exit:
            if self._retired_at is None:
                for listener in sockets or []:
                    refuse_newcomers(listener)
            await asyncio.sleep(SETTLE_SECONDS)
            await self._finish_requests()
        for server in self.servers:
            server.close()
        self.servers = []  # uvicorn would wait for what an asyncio server has and ours have not
        await super().shutdown(sockets)

    async def _finish_requests(self) -> None:
        # It looks again and again, as uvicorn does: a signal or the clock may end the wait too.
        while self._is_busy():  # noqa: ASYNC110
            await asyncio.sleep(TICK_SECONDS)

    def _is_busy(self) -> bool:
        in_time = self._seconds_left() > 0 and not self.force_exit
        return in_time and self._lifecycle.in_progress > 0

    def _is_drained(self) -> bool:
        """Return whether nothing is in progress, and nobody holds a connection unwarned."""
        if self._lifecycle.in_progress:
            return False
        said_farewell = self._drain_seconds - self._seconds_left() >= FAREWELL_SECONDS
        return said_farewell or not self.server_state.connections

    def _is_left(self, seconds: float) -> bool:
        """Return whether nobody is left that came before this process retired."""
        if seconds < SETTLE_SECONDS:
            return False
        return not self.server_state.connections or seconds >= self._drain_seconds

    def _seconds_left(self) -> float:
        if self._signalled_at is None:
            return 0.0
        return self._signalled_at + self._drain_seconds - self._clock()
