"""An HTTP client for an application in this process: no socket, no second thread of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

import httpx
from starlette.types import ASGIApp, Message, Receive

SECONDS = 30  # no answer is worth waiting longer for: the application hangs


class AppClient:
    """Runs the application's lifespan and its requests on an event loop of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stop())
        self._runner.close()

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send one request and wait for its answer."""
        return self.run(self.http.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def post_image(self, path: str, content: Any, **headers: str) -> httpx.Response:
        """Send one image file, or what is said to be one."""
        return self.post(path, content=content, headers={"content-type": "image/png", **headers})

    async def exchange(self, path: str, receive: Receive) -> list[Message]:
        """Return what the application sends to a caller who posts an image as the test says."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
            "server": ("foldnorm.test", 80),
            "client": ("127.0.0.1", 1),
        }
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(dict(message))

        await self._app(scope, receive, send)
        return sent

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run anything on the application's loop, in bounded time."""

        async def bounded() -> Any:
            async with asyncio.timeout(SECONDS):
                return await work

        return self._runner.run(bounded())

    async def _start(self) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        lifespan = self._app(scope, self._to_app.get, self._from_app.put)
        self._lifespan = asyncio.ensure_future(lifespan)
        await self._to_app.put({"type": "lifespan.startup"})
        assert (await self._from_app.get())["type"] == "lifespan.startup.complete"
        transport = httpx.ASGITransport(self._app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://foldnorm.test")

    async def _stop(self) -> None:
        await self.http.aclose()
        await self._to_app.put({"type": "lifespan.shutdown"})
        await self._lifespan
