"""How many pixels may be decoded at once, so that many large images do not take all memory."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """A semaphore that counts pixels, first come, first served.

    A request for more than the whole is granted when nothing else is in use.
    """

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self._in_use = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, pixels: int) -> None:
        """Wait until so many are free, and take them; a caller cancelled meanwhile takes none."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._serve()  # the next in the queue may need fewer
            else:
                self.release(pixels)
            raise

    def release(self, pixels: int) -> None:
        """Give them back."""
        self._in_use -= pixels
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            pixels, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif self._in_use and self._in_use + pixels > self._whole:
                return
            else:
                self._waiting.popleft()
                self._in_use += pixels
                turn.set_result(None)
