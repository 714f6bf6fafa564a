"""Runs the networks of one process: one batch at a time, whichever model it is for.

    batch ──► chunks of at most `chunk_size` ──► one chunk:  here, on the event loop
                                                several:    on the shared threads, in parallel

A session has no thread of its own, and the CPUs are shared out by images instead of by rows of a
matrix: chunks need no barrier after every layer. A small batch runs where it is called and costs
no switch of threads; how small is measured when a model is loaded (`service.inference.tuning`),
such that the event loop is never blocked for long.

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
    """The threads that all models of a process share, `threads` chunks in parallel."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="run")
        self._turn = asyncio.Lock()

    async def run(
        self, session: Session, images: NDArray[np.uint8], chunk_size: int
    ) -> tuple[Scores, float]:
        """Return the scores of images (N, H, W, C) and the seconds that they ran.

        `chunk_size` is the most that run at once, on the event loop or on one thread; 0 keeps
        even a single image off the event loop.
        """
        async with self._turn:
            started = time.perf_counter()
            scores = await self._run(session, images, chunk_size)
            return scores, time.perf_counter() - started

    async def _run(self, session: Session, images: NDArray[np.uint8], chunk_size: int) -> Scores:
        if len(images) <= chunk_size:
            return session.run(images)
        loop = asyncio.get_running_loop()
        chunks = split(images, self.threads, chunk_size)
        runs = [loop.run_in_executor(self._pool, session.run, chunk) for chunk in chunks]
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


def split(images: NDArray[np.uint8], threads: int, max_size: int) -> list[NDArray[np.uint8]]:
    """Return consecutive chunks of equal size, where possible as many as a multiple of the threads.

    A chunk has at most `max_size` images (without bound where that is 0).
    """
    count = len(images)
    chunks = threads if max_size == 0 else threads * -(-count // (threads * max_size))
    return list(np.array_split(images, min(chunks, count)))


def join(chunks: Sequence[Scores]) -> Scores:
    """Return the scores of consecutive chunks as one."""
    if len(chunks) == 1:
        return chunks[0]
    return Scores(
        np.concatenate([chunk.logits for chunk in chunks]),
        np.concatenate([chunk.probabilities for chunk in chunks]),
    )
