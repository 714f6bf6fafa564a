"""Runs the networks of one process: one batch at a time, whichever model it is for.

    batch ──► parts of at most `part_images` ──► one part:  here, on the event loop
                                                several:   on the shared threads, side by side

A session has no thread of its own, and the CPUs are shared out by images instead of by rows of a
matrix: parts need no barrier after every layer. A small batch runs where it is called and costs no
switch of threads; how small is measured when a model is loaded (`service.inference.tuning`), such that the
event loop is never kept long.

One batch at a time means that the time of a batch is its own, and that two models never compete.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.inference.session import Scores, Session

Result = TypeVar("Result")


class Engine:
    """The threads that all models of a process share, `threads` parts side by side."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._turn = asyncio.Lock()

    async def run(
        self, session: Session, images: NDArray[np.uint8], part_images: int
    ) -> tuple[Scores, float]:
        """Return the scores of images (N, 32, 32, 3) and the seconds that they ran.

        `part_images` is the most that run at once, on the event loop or on one thread; 0 keeps
        even a single image off the event loop.
        """
        async with self._turn:
            started = time.perf_counter()
            scores = await self._run(session, images, part_images)
            return scores, time.perf_counter() - started

    async def _run(self, session: Session, images: NDArray[np.uint8], part_images: int) -> Scores:
        if len(images) <= part_images:
            return session.run(images)
        loop = asyncio.get_running_loop()
        parts = split(images, self.threads, part_images)
        runs = [loop.run_in_executor(self._pool, session.run, part) for part in parts]
        return join(await asyncio.gather(*runs))

    async def run_whole(self, session: Session, images: NDArray[np.uint8]) -> tuple[Scores, float]:
        """Return the scores and seconds of one call of the session in one thread.

        For timings that compare: however many images, every network runs in the same way.
        """

        def run() -> tuple[Scores, float]:
            started = time.perf_counter()
            return session.run(images), time.perf_counter() - started

        return await self.call(run)

    async def call(self, function: Callable[[], Result]) -> Result:
        """Return what a function returns, called in a thread while no model runs."""
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """End the threads, after what they run."""
        self._pool.shutdown()


def split(images: NDArray[np.uint8], threads: int, most: int) -> list[NDArray[np.uint8]]:
    """Return consecutive parts of equal size, as many as a multiple of the threads where it can be.

    A part has at most `most` images (without bound where that is 0).
    """
    count = len(images)
    parts = threads if most == 0 else threads * -(-count // (threads * most))
    return list(np.array_split(images, min(parts, count)))


def join(parts: Sequence[Scores]) -> Scores:
    """Return the scores of consecutive parts as one."""
    if len(parts) == 1:
        return parts[0]
    return Scores(
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )
