"""When the work on a request ends early: its time is over, or its caller has hung up."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.errors import DeadlineExceededError

LISTEN_AFTER_S = 0.05  # most answers come sooner, and spare themselves a task


class deadline:  # noqa: N801 - used as a statement, like asyncio.timeout
    """Cancels what runs inside when the time is over; what it waits for forgets it.

    Entered, it gives the end on the clock of the event loop. Inside another deadline it can only
    be the earlier one.

    Raises:
        DeadlineExceededError: the time is over.
    """

    def __init__(self, limit_ms: float) -> None:
        self._limit_ms = limit_ms

    async def __aenter__(self) -> float:
        """Begin to count."""
        ends_at = asyncio.get_running_loop().time() + self._limit_ms / 1000
        self._timer = asyncio.timeout_at(ends_at)
        await self._timer.__aenter__()
        return ends_at

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop counting, and name the limit where it was reached."""
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError as exc:
            raise DeadlineExceededError(
                f"no answer within {self._limit_ms:g} ms, the limit of this request; send fewer "
                "or smaller images, allow more time, or try again when the server is less busy"
            ) from exc


class while_connected:  # noqa: N801 - used as a statement, like asyncio.timeout
    """Cancels what runs inside when the caller hangs up. The body must have been read.

    Raises:
        ClientDisconnect: the caller hung up.
    """

    def __init__(self, receive: Receive, listen_after_s: float = LISTEN_AFTER_S) -> None:
        self._receive = receive
        self._listen_after_s = listen_after_s
        self._gone = False
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Listen to the connection after a while."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(self._listen_after_s, self._start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Listen no longer, and say so where the caller is gone."""
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise ClientDisconnect from error

    def _start(self) -> None:
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
