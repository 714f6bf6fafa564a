"""Closed-loop clients that tell exactly how a request ended.

Load generators count errors; a fault trial must know which: was the request sent in full, did the
connection end without an answer or in the middle of one, and was the connection fresh?
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PATIENCE_S = 20.0
PAUSE_S = 0.01

Ending = Literal["answered", "not_connected", "unanswered", "truncated", "timeout"]


@dataclass(frozen=True)
class Request:
    """One request; `key` says which when its answer comes."""

    key: int
    path: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"

    def encoded(self) -> bytes:
        """Return it as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("ascii") + self.body


@dataclass(frozen=True)
class Exchange:
    """How one request ended; times are `time.perf_counter` readings."""

    key: int
    ending: Ending
    sent_at: float
    ended_at: float
    fresh_connection: bool
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def lost(self) -> bool:
        """Whether it was sent in full and no whole answer came."""
        return self.ending in ("unanswered", "truncated", "timeout")

    @property
    def good(self) -> bool:
        """Whether it was answered with 200."""
        return self.ending == "answered" and self.status == 200


class Client:
    """One connection at a time to a port of loopback, opened anew when it ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: Request) -> Exchange:
        """Send a request and say how it ended; nothing is raised."""
        fresh = self._streams is None
        sent_at = time.perf_counter()
        headers: dict[str, str] = {}
        ending: Ending = "not_connected"
        status, content = 0, b""
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                ending = "unanswered"
                sent_at = time.perf_counter()
                writer.write(request.encoded())
                await writer.drain()
                status, headers = await _read_head(reader)
                ending = "truncated"
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                ending = "answered"
        except TimeoutError:
            ending = "timeout"
        except (OSError, asyncio.IncompleteReadError) as error:
            if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                ending = "truncated"
        ended_at = time.perf_counter()
        if ending != "answered" or headers.get("connection") == "close":
            await self.close()
        return Exchange(request.key, ending, sent_at, ended_at, fresh, status, headers, content)

    def local_port(self) -> int | None:
        """Return the client's own port, by which the server's end can be found."""
        if self._streams is None:
            return None
        port: int = self._streams[1].get_extra_info("sockname")[1]
        return port

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def run_clients(
    port: int, requests: Iterator[Request], count: int, until: Callable[[], bool]
) -> list[Exchange]:
    """Let clients take requests in turn until `until` holds or there are no more.

    A client that could not connect, or was refused with 503, pauses for 10 ms.
    """
    exchanges: list[Exchange] = []

    async def work() -> None:
        client = Client(port)
        for request in requests:
            if until():
                break
            exchange = await client.exchange(request)
            exchanges.append(exchange)
            if exchange.ending == "not_connected" or exchange.status == 503:
                await asyncio.sleep(PAUSE_S)
        await client.close()

    await asyncio.gather(*(work() for _ in range(count)))
    return exchanges


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
