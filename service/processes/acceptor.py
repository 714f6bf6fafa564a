"""Takes every connection that waits, at each turn of the event loop.

uvloop takes one a turn (its library does since libuv 1.45). Where turns last as long as a batch,
many new connections would wait in the kernel for seconds, without a deadline and without a refusal.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger("foldnorm")

MAX_AT_ONCE = 512  # a turn ends, even if connections keep coming
PAUSE_S = 0.5  # when the process may open no more files


class Acceptor:
    """Accepts connections on a socket that listens, in slot of an asyncio server.

    Args:
        listener: the socket.
        make_protocol: makes the protocol of one connection.
    """

    def __init__(
        self, listener: socket.socket, make_protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accept no more; the socket is its owner's to close."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _watch(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue  # gone before it was taken
            except OSError as error:
                logger.exception("no connection can be taken", exc_info=error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(PAUSE_S, self._watch)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()  # the other end is gone
