"""A web server for one file, at the pace of a line, that fails in the ways that downloads meet."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 18
LOGIN_PAGE = b"<html><body>Please log in to this network.</body></html>" * 100


class WeakServer(ThreadingHTTPServer):
    """Serves a file, and counts what it has sent.

    Args:
        content: the file.
        pace: bytes per second.
        ranges: whether it goes on where it is asked to.
        break_at: the first answer breaks off after this many bytes.
        login_first: the first answer is a page that asks for a login.
    """

    def __init__(
        self,
        content: bytes,
        pace: float,
        *,
        ranges: bool = True,
        break_at: int | None = None,
        login_first: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.pace, self.ranges = content, pace, ranges
        self.break_at, self.login_first = break_at, login_first
        self.sent_bytes = self.requests = 0

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_port}/archive.tar.gz"

    def take_failure(self) -> tuple[int | None, bool]:
        """Return how this answer fails; the next ones do not."""
        failure = self.break_at, self.login_first
        self.break_at, self.login_first = None, False
        return failure


class _Handler(BaseHTTPRequestHandler):
    server: WeakServer

    def do_GET(self) -> None:
        self.server.requests += 1
        break_at, login = self.server.take_failure()
        content = LOGIN_PAGE if login else self.server.content
        wanted = self.headers.get("Range") if self.server.ranges and not login else None
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self._send(content[first:break_at])

    def _send(self, body: bytes) -> None:
        began_at = time.perf_counter()
        for start in range(0, len(body), CHUNK_BYTES):
            self.wfile.write(body[start : start + CHUNK_BYTES])
            sent = min(len(body), start + CHUNK_BYTES)
            time.sleep(max(0.0, began_at + sent / self.server.pace - time.perf_counter()))
        self.server.sent_bytes += len(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(server: WeakServer) -> Iterator[WeakServer]:
    """Answer in a thread meanwhile."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
