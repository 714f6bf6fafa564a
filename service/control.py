"""The worker's end of the line to its supervisor.

    worker that was asked ──change──► supervisor ── starts new workers, which load and take over
                          ◄──done────
    every old worker      ◄──retire── when the new one in its place serves

One JSON object per line, over a pair of sockets that the supervisor made before it forked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from models.bundle import BundleError
from service.errors import DrainingError, ModelRefusedError, ServiceError, UnknownModelError
from service.lifecycle import RETRY_AFTER_S
from service.rollout import STOPPING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from service.repository import Repository
    from service.rollout import Action

logger = logging.getLogger("foldnorm")

REFUSALS: dict[str, type[ServiceError | BundleError]] = {
    "UnknownModelError": UnknownModelError,
    "ModelRefusedError": ModelRefusedError,
    "BundleError": BundleError,
}
BUFFER_BYTES = 1 << 20


class Coordinator:
    """Asks the supervisor for changes, and hears when this worker is replaced."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self.retire: Callable[[], None] = lambda: None

    async def start(self, repository: Repository) -> None:
        """Tell the supervisor that this worker answers, and listen to it from now on."""
        reader, self._writer = await asyncio.open_connection(sock=self._line, limit=BUFFER_BYTES)
        self._listening = asyncio.create_task(self._listen(reader))
        await self._tell({"kind": "serving", "models": repository.served})

    async def change(self, action: Action, name: str) -> None:
        """Have all workers replaced by such that have made a change.

        Raises:
            UnknownModelError, ModelRefusedError, BundleError: a new one could not, so none did.
            DrainingError: the service is about to stop.
        """
        if self._listening is None or self._listening.done():
            raise DrainingError(STOPPING, RETRY_AFTER_S)
        self._number += 1
        number = self._number  # another may ask before this one is answered
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            await self._tell({"kind": "change", "number": number, "action": action, "name": name})
            done = await future
        except OSError as exc:
            raise DrainingError(STOPPING, RETRY_AFTER_S) from exc
        finally:
            self._asked.pop(number, None)
        if done["error"] == "DrainingError":
            raise DrainingError(done["reason"], RETRY_AFTER_S)
        if done["error"] is not None:
            raise REFUSALS.get(done["error"], ModelRefusedError)(done["reason"])

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._obey(json.loads(line))
        except ConnectionError:
            pass  # the supervisor was killed
        except Exception:
            logger.exception("a worker lost touch with its supervisor")
        for future in self._asked.values():
            if not future.done():
                future.set_exception(DrainingError(STOPPING, RETRY_AFTER_S))
        os.kill(os.getpid(), signal.SIGTERM)  # without its supervisor a worker has to go

    def _obey(self, message: dict[str, Any]) -> None:
        if message["kind"] == "retire":
            self.retire()
            return
        future = self._asked.get(message["number"])
        if future is not None and not future.done():
            future.set_result(message)

    async def _tell(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(message).encode() + b"\n")
        await self._writer.drain()
