"""One log line and one count for every request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.lifecycle import Lifecycle
    from service.metrics import ServiceMetrics

logger = logging.getLogger("foldnorm.access")

UNMATCHED = "unmatched"


class AccessMiddleware:
    """Watches a request from its head to the last byte of its answer.

    An exception that was answered with a 500 ends here, logged under the request's id.
    """

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, lifecycle: Lifecycle) -> None:
        self._app = app
        self._metrics = metrics
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request through the application, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watch = _Watch(send)
        failure = None
        try:
            with self._lifecycle.request():
                await self._app(scope, receive, watch.send)
        except Exception as exc:
            failure = exc
            if not watch.complete:
                raise
        finally:
            self._record(scope, watch, failure)

    def _record(self, scope: Scope, watch: _Watch, failure: Exception | None) -> None:
        state = scope["state"]
        self._metrics.count_request(scope["method"], _route(scope), watch.status)
        if "problem" in state:
            self._metrics.count_rejection(state["problem"])
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status": watch.status,
            "duration_ms": round(watch.elapsed_ms(), 3),
            "images": state.get("images", 0),
            **({"problem": state["problem"]} if "problem" in state else {}),
        }
        level = logging.ERROR if failure else logging.INFO
        logger.log(level, "request", extra={"fields": fields}, exc_info=failure)


class _Watch:
    """Passes an answer on and remembers its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = time.perf_counter()
        self.status = 500  # what the server sends when nothing else was
        self.complete = False

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def _route(scope: Scope) -> str:
    """Return the template of the route that matched: bounded in number, unlike paths."""
    return getattr(scope.get("route"), "path", UNMATCHED)
