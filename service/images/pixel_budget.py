"""How many pixels may be decoded at once, so that many large images do not take all memory."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """A number that is lent out in parts, first come, first served.

    What asks for more than the whole gets it when nothing else is lent.
    """

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self._lent = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, part: int) -> None:
        """Wait until the part is free, and take it; leaving while waiting takes nothing."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._serve()  # whoever waits behind may be smaller
            else:
                self.release(part)
            raise

    def release(self, part: int) -> None:
        """Give a part back."""
        self._lent -= part
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            part, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif self._lent and self._lent + part > self._whole:
                return
            else:
                self._waiting.popleft()
                self._lent += part
                turn.set_result(None)
