"""The time in which a request must be answered."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING

from service.errors import DeadlineExceededError

if TYPE_CHECKING:
    from types import TracebackType

_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)  # the loop's clock


class deadline:  # noqa: N801 - used as a statement, like asyncio.timeout
    """Cancels what runs inside when the time is over; what it waits for forgets it.

    Raises:
        DeadlineExceededError: the time is over.
    """

    def __init__(self, limit_ms: float) -> None:
        self._limit_ms = limit_ms

    async def __aenter__(self) -> None:
        """Begin to count."""
        ends_at = asyncio.get_running_loop().time() + self._limit_ms / 1000
        self._token = _ends_at.set(ends_at)
        self._timer = asyncio.timeout_at(ends_at)
        await self._timer.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop counting, and name the limit where it was reached."""
        _ends_at.reset(self._token)
        try:
            await self._timer.__aexit__(kind, error, trace)
        except TimeoutError as exc:
            raise DeadlineExceededError(
                f"no answer within {self._limit_ms:g} ms, the limit of this request; send fewer "
                "or smaller images, allow more time, or try again when the server is less busy"
            ) from exc


def remaining_s() -> float:
    """Return the seconds until the deadline of the request that this is called for."""
    ends_at = _ends_at.get()
    return math.inf if ends_at == math.inf else ends_at - asyncio.get_running_loop().time()
