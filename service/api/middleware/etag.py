"""GET answers under `/v1` carry their hash, and are not sent again to a caller that has them.

What the artifacts say never changes: a page that asks again pays for a hash, not for a transfer.
"""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ETagMiddleware:
    """Answers 304 where the caller's `If-None-Match` names what it would get."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request through the application."""
        tagged = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"].startswith("/v1/")
        )
        if not tagged:
            await self._app(scope, receive, send)
            return
        answer = _Answer(Headers(scope=scope).get("if-none-match", ""), send)
        await self._app(scope, receive, answer.send)


class _Answer:
    """Holds a successful answer back until all of it is known."""

    def __init__(self, known: str, send: Send) -> None:
        self._known = known
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
        headers = MutableHeaders(scope=start)
        headers["etag"] = tag
        body = bytes(self._body)
        if self._matches(tag):
            start["status"] = 304
            del headers["content-length"]
            body = b""
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _matches(self, tag: str) -> bool:
        """Return whether the caller has this answer; a weak tag will do (RFC 9110)."""
        known = [one.strip().removeprefix("W/") for one in self._known.split(",")]
        return tag in known or known == ["*"]
