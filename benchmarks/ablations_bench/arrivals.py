"""Callers that come anew: all at once, or at a fixed rate, each with a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

from benchmarks.rig.exchange import Client
from benchmarks.rig.sockets import waiting_to_be_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rig.exchange import Exchange, Request

LOOK_S = 0.01


async def call_once(port: int, request: Request) -> tuple[Exchange, float]:
    """Connect, ask and hang up; return how it ended and the seconds since it began to connect."""
    began_at = time.perf_counter()
    client = Client(port)
    exchange = await client.exchange(request)
    await client.close()
    return exchange, exchange.ended_at - began_at


async def come_at_once(
    port: int, requests: Iterator[Request], count: int
) -> tuple[list[tuple[Exchange, float]], float]:
    """Let callers come in one moment.

    Returns their calls, and the seconds until the last connection was accepted.
    """
    waits_s: list[float] = []
    watching = asyncio.create_task(_watch(port, waits_s))
    chosen = itertools.islice(requests, count)
    calls = await asyncio.gather(*(call_once(port, request) for request in chosen))
    watching.cancel()
    return calls, max(waits_s, default=0.0)


async def _watch(port: int, waits_s: list[float]) -> None:
    """Note every moment, in seconds from now, at which a connection waits to be accepted."""
    began_at = time.perf_counter()
    while True:
        if waiting_to_be_accepted(port):
            waits_s.append(time.perf_counter() - began_at)
        await asyncio.sleep(LOOK_S)


async def keep_coming(
    port: int, requests: Iterator[Request], rate_per_s: float, until: Callable[[], bool]
) -> list[tuple[Exchange, float]]:
    """Let callers come at a rate, whether or not those before them were answered."""
    began_at = time.perf_counter()
    calls = []
    for number, request in enumerate(requests):
        if until():
            break
        await asyncio.sleep(max(0.0, began_at + number / rate_per_s - time.perf_counter()))
        calls.append(asyncio.create_task(call_once(port, request)))
    return await asyncio.gather(*calls)
