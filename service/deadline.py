"""The time in which a request must be answered."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def deadline(limit_ms: int) -> AsyncIterator[None]:
    """Cancel what runs inside when the time is over; what it waits for forgets it.

    Raises:
        DeadlineExceededError: the time is over.
    """
    timer = asyncio.timeout(limit_ms / 1000)
    try:
        async with timer:
            yield
    except TimeoutError as exc:
        if not timer.expired():
            raise
        raise DeadlineExceededError(
            f"no answer within {limit_ms} ms, the limit of this server; send fewer or smaller "
            "images, or try again when it is less busy"
        ) from exc
