"""HTTP to one server: aiohttp behind a seam that load and retries are written against."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from training.client.errors import ClientError, RequestError, ServerError
from training.client.requests import Payload

DEFAULT_URL = "http://127.0.0.1:8000"
# Below the 5 s after which uvicorn closes an idle connection: a request must not meet the closing.
KEEP_ALIVE_S = 4.0
MAX_SHOWN_CHARS = 500


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """What the server says of an error, in its words."""
        try:
            problem: Any = json.loads(self.body)
        except ValueError:
            problem = None
        if isinstance(problem, dict):
            said = problem.get("detail") or problem.get("error")
            if isinstance(said, str) and said:
                return said[:MAX_SHOWN_CHARS]
        known = self.status in {status.value for status in HTTPStatus}
        phrase = HTTPStatus(self.status).phrase if known else "an unknown status"
        return f"the server answered {self.status} {phrase} and gave no reason"


class Connection(Protocol):
    """Where requests are sent to."""

    async def get(self, target: str) -> Reply:
        """Return the answer to a question without a body; raises like `post`."""

    async def post(self, payload: Payload) -> Reply:
        """Return the answer, whatever its status.

        Raises:
            ServerError: no answer came; the message says why.
        """


class HttpConnection:
    """Kept-alive connections to one server, as many as there are requests at once."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout_s: float) -> None:
        self._session = session
        self._url = url
        self._timeout_s = timeout_s

    async def get(self, target: str) -> Reply:
        """Ask without a body; see `Connection`."""
        return await self._send("GET", Payload(target, {}, b""))

    async def post(self, payload: Payload) -> Reply:
        """Send a request; see `Connection`."""
        return await self._send("POST", payload)

    async def _send(self, method: str, payload: Payload) -> Reply:
        try:
            async with self._session.request(
                method,
                payload.target,
                data=payload.body or None,
                headers=payload.headers,
                allow_redirects=False,
            ) as answer:
                return Reply(answer.status, answer.headers, await answer.read())
        except (TimeoutError, OSError, aiohttp.ClientError) as exc:
            raise self._translated(exc) from exc

    def _translated(self, error: Exception) -> ClientError:
        if isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno  # negative where the name was not found
            reason = os.strerror(number) if number and number > 0 else str(error.os_error)
            return ServerError(
                f"cannot reach {self._url} ({reason}); start a server with foldnorm-serve, or name "
                "another with --url"
            )
        if isinstance(error, TimeoutError):
            return ServerError(
                f"no answer from {self._url} within {self._timeout_s:g} s; allow more with "
                "--timeout, or ask for less"
            )
        if isinstance(error, aiohttp.InvalidURL):
            return RequestError(f"{self._url!r} is no address; give one as http://127.0.0.1:8000")
        return ServerError(
            f"the connection to {self._url} broke off before the answer was whole "
            f"({error or type(error).__name__}); try again"
        )


@asynccontextmanager
async def connect(url: str, timeout_s: float) -> AsyncIterator[HttpConnection]:
    """Open connections to a server as they are needed, and close them in the end.

    Raises:
        RequestError: the address is none.
    """
    base = check_url(url)
    async with aiohttp.ClientSession(
        base,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding"),
        trust_env=False,  # a proxy between generator and server would be measured with it
    ) as session:
        yield HttpConnection(session, base, timeout_s)
        # aiohttp closes sockets in the loop's next round.
        await asyncio.sleep(0)


def check_url(url: str) -> str:
    """Return the address of a server without a path at its end.

    Raises:
        RequestError: it is no http or https address, or has a path.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        sound = False
    if not sound or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise RequestError(f"{url!r} is no server's address; give one as http://127.0.0.1:8000")
    return f"{parts.scheme}://{parts.netloc}"
