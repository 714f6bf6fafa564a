"""What is known of every request from its head to the last byte of its answer.

counts      method, route and status of every one
log         one line for each, or only for those that failed (`FOLDNORM_ACCESS_LOG`)
memory      the bytes of its body, while it is answered
draining    its connection is closed with the answer, so that the caller goes elsewhere
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.lifecycle import Lifecycle
    from service.metrics import ServiceMetrics
    from service.settings import AccessLog

logger = logging.getLogger("foldnorm.access")

UNMATCHED = "unmatched"
CLOSE = (b"connection", b"close")
UNAVAILABLE_LINES_A_SECOND = 10  # writing thousands would slow the requests that are accepted


class AccessMiddleware:
    """Watches the requests of an application.

    An exception that was answered with a 500 ends here, logged under the request's id.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: ServiceMetrics,
        lifecycle: Lifecycle,
        access_log: AccessLog = "all",
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._quiet_below = {"all": 0, "errors": 400, "off": 1000}[access_log]
        self._unavailable_second = 0
        self._unavailable_lines = 0
        self._not_logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request through the application, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watch = _Watch(receive, send, self._lifecycle)
        failure = None
        self._lifecycle.in_progress += 1
        try:
            await self._app(scope, watch.receive, watch.send)
        except Exception as exc:
            failure = exc
            if not watch.complete:
                raise
        finally:
            self._lifecycle.in_progress -= 1
            self._lifecycle.release(watch.held_bytes)
            self._record(scope, watch, failure)

    def _is_logged(self, status: int) -> bool:
        """Return whether a request with this status gets a line; a flood of 503 gets a few."""
        if status < self._quiet_below:
            return False
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            return True
        second = int(time.monotonic())
        if second != self._unavailable_second:
            self._unavailable_second, self._unavailable_lines = second, 0
        self._unavailable_lines += 1
        if self._unavailable_lines <= UNAVAILABLE_LINES_A_SECOND:
            return True
        self._not_logged += 1
        return False

    def _record(self, scope: Scope, watch: _Watch, failure: Exception | None) -> None:
        state = scope["state"]
        self._metrics.count_request(scope["method"], _route(scope), watch.status)
        if "problem" in state:
            self._metrics.count_rejection(state["problem"])
        if failure is None and not self._is_logged(watch.status):
            return
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status": watch.status,
            "duration_ms": round(watch.elapsed_ms(), 3),
            "images": state.get("images", 0),
            **({"problem": state["problem"]} if "problem" in state else {}),
            **({"not_logged": self._not_logged} if self._not_logged else {}),
        }
        self._not_logged = 0
        level = logging.ERROR if failure else logging.INFO
        logger.log(level, "request", extra={"fields": fields}, exc_info=failure)


class _Watch:
    """Passes a request and its answer on; remembers the status and the bytes held."""

    def __init__(self, receive: Receive, send: Send, lifecycle: Lifecycle) -> None:
        self._receive = receive
        self._send = send
        self._lifecycle = lifecycle
        self._started = time.perf_counter()
        self.held_bytes = 0
        self.status = 500  # what the server sends when nothing else was
        self.complete = False

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    async def receive(self) -> Message:
        message = await self._receive()
        count = len(message.get("body", b""))
        if count:
            self._lifecycle.hold(count)
            self.held_bytes += count
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._lifecycle.parting:
                message = {**message, "headers": [*message["headers"], CLOSE]}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


def _route(scope: Scope) -> str:
    """Return the template of the route that matched: bounded in number, unlike paths."""
    return getattr(scope.get("route"), "path", UNMATCHED)
