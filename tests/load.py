"""Callers that never stop asking, each on its own connection, and what became of each request."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

SECONDS = 30  # for one answer
REFUSED = "refused"  # nobody listens: nothing was accepted


@dataclass(frozen=True)
class Result:
    """How one request ended: its status, or what broke."""

    at: float
    ending: int | str
    body: bytes = b""


@dataclass
class Caller:
    """Sends one request after the other; keeps its connection as long as it may.

    Args:
        address: host and port.
        image: what it sends.
        keeps: whether it keeps its connection, or opens one for each request.
    """

    address: tuple[str, int]
    image: bytes
    keeps: bool = True
    results: list[Result] = field(default_factory=list)
    connection: http.client.HTTPConnection | None = None

    def connect(self) -> None:
        self.connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        """Send one request and note how it ended."""
        try:
            if self.connection is None:
                self.connect()
        except ConnectionRefusedError:
            self.results.append(Result(time.monotonic(), REFUSED))
            time.sleep(0.01)
            return
        assert self.connection is not None
        try:
            headers = {"content-type": "image/png"}
            self.connection.request("POST", "/v1/predict", self.image, headers)
            response = self.connection.getresponse()
            result = Result(time.monotonic(), response.status, response.read())
        except (OSError, http.client.HTTPException) as exc:
            result = Result(time.monotonic(), repr(exc))
        self.results.append(result)
        # An answer may end the connection; the library would open the next one unasked.
        if not self.keeps or result.ending != 200 or self.connection.sock is None:
            self.close()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    @property
    def port(self) -> int:
        """Its own port, by which the system knows the connection."""
        assert self.connection is not None
        port: int = self.connection.sock.getsockname()[1]
        return port


class Load:
    """Callers that ask at the same time, from entering to leaving."""

    def __init__(self, callers: Iterable[Caller]) -> None:
        self.callers = list(callers)
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in self.callers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self, caller: Caller) -> None:
        while not self._ends.is_set():
            caller.ask()
        caller.close()

    @property
    def answered(self) -> int:
        """How many requests have ended until now."""
        return sum(len(caller.results) for caller in self.callers)

    def endings(self) -> list[int | str]:
        return [result.ending for caller in self.callers for result in caller.results]


def holder(pids: Iterable[int], server_port: int, client_port: int) -> int | None:
    """Return which of these processes holds the server's end of a connection, from /proc."""
    wanted = (f":{server_port:04X}", f":{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if (words[1][-5:], words[2][-5:]) == wanted:
            link = f"socket:[{words[9]}]"
            return next((pid for pid in pids if link in _open_files(pid)), None)
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return found
