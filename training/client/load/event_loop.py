"""An event loop whose timers are as precise as the system's.

On Linux asyncio waits in whole milliseconds, rounded up. A request due in 0.2 ms would be sent
0.8 ms late, which is as long as some answers take.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys

if sys.platform == "linux":

    class PreciseSelector(selectors.EpollSelector):
        """Waits for the epoll descriptor itself, in microseconds, then asks it without waiting."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Return what is ready within `timeout` seconds."""
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """Return a loop on it."""
        return asyncio.SelectorEventLoop(PreciseSelector())

else:  # kqueue counts in nanoseconds

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """Return the platform's loop."""
        return asyncio.new_event_loop()
