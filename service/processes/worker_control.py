"""The worker's end of the channel to its supervisor: a change is made by all workers or by none.

    worker that was asked ──change──► supervisor ──prepare──► every worker
                                                 ◄──prepared── (or the reason why not)
                                                 ──commit──►   every worker (or abandon)
                         ◄──done────             ◄──committed── (and what it serves now)

One JSON object a line, over a pair of sockets that the supervisor made before it forked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from typing import Any

from models.bundle import BundleError
from service.api.admission import RETRY_AFTER_S
from service.errors import DrainingError, ModelRefusedError, ServiceError, UnknownModelError
from service.processes.model_change import STOPPING
from service.registry.repository import Action, Repository

logger = logging.getLogger("foldnorm")

REFUSALS: dict[str, type[ServiceError | BundleError]] = {
    "UnknownModelError": UnknownModelError,
    "ModelRefusedError": ModelRefusedError,
    "BundleError": BundleError,
}
MAX_REASON = 2000  # characters; a message has to fit into the reader's buffer
BUFFER_BYTES = 1 << 20


class SupervisedCoordinator:
    """Asks the supervisor for changes, and makes those that it orders."""

    def __init__(self, channel: socket.socket) -> None:
        self._socket = channel
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def start(self, repository: Repository) -> None:
        """Report to the supervisor that this worker serves, and carry out what it orders."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=BUFFER_BYTES)
        self._listening = asyncio.create_task(self._listen(reader, repository))
        await self._send({"kind": "serving", "models": repository.served})

    async def change(self, action: Action, name: str) -> None:
        """Have all workers make a change.

        Raises:
            UnknownModelError, ModelRefusedError, BundleError: one of them could not, so none did.
            DrainingError: the service is about to stop.
        """
        if self._listening is None or self._listening.done():
            raise DrainingError(STOPPING, RETRY_AFTER_S)
        self._number += 1
        number = self._number  # another may ask before this one is answered
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            await self._send({"kind": "change", "number": number, "action": action, "name": name})
            done = await future
        except OSError as exc:
            raise DrainingError(STOPPING, RETRY_AFTER_S) from exc
        finally:
            self._asked.pop(number, None)
        if done["error"] == "DrainingError":
            raise DrainingError(done["reason"], RETRY_AFTER_S)
        if done["error"] is not None:
            raise REFUSALS.get(done["error"], ModelRefusedError)(done["reason"])

    async def _listen(self, reader: asyncio.StreamReader, repository: Repository) -> None:
        try:
            while line := await reader.readline():
                await self._handle(json.loads(line), repository)
        except ConnectionError:
            pass  # the supervisor was killed
        except Exception:
            logger.exception("a worker lost touch with its supervisor")
        for future in self._asked.values():
            if not future.done():
                future.set_exception(DrainingError(STOPPING, RETRY_AFTER_S))
        os.kill(os.getpid(), signal.SIGTERM)  # without its supervisor a worker has to go

    async def _handle(self, message: dict[str, Any], repository: Repository) -> None:
        match message["kind"]:
            case "prepare":
                await self._send(await _prepare(repository, message))
            case "commit":
                repository.commit()
                await self._send(
                    {
                        "kind": "committed",
                        "number": message["number"],
                        "models": repository.served,
                    }
                )
            case "abandon":
                repository.abandon()
            case "done":
                future = self._asked.get(message["number"])
                if future is not None and not future.done():
                    future.set_result(message)

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(message).encode() + b"\n")
        await self._writer.drain()


async def _prepare(repository: Repository, message: dict[str, Any]) -> dict[str, Any]:
    """Return this worker's vote."""
    vote: dict[str, Any] = {"kind": "prepared", "number": message["number"]}
    try:
        await repository.prepare(message["action"], message["name"])
    except (UnknownModelError, ModelRefusedError, BundleError) as refusal:
        return vote | {"error": type(refusal).__name__, "reason": str(refusal)[:MAX_REASON]}
    except Exception:
        logger.exception("a model cannot be changed")
        return vote | {
            "error": "ModelRefusedError",
            "reason": "a worker failed to prepare the change; its log says why",
        }
    return vote | {"error": None, "reason": None}
