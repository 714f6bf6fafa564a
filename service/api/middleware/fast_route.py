"""Routes that answer thousands of requests a second.

FastAPI documents them like any other. Their requests are dispatched by a dictionary before its
middleware and its routing, and their endpoints take the request as it is and return the response
ready to send: what FastAPI does between the two costs more than decoding an image.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import answer_disconnect, answer_error, answer_unexpected
from service.errors import ServiceError


class FastRoute(APIRoute):
    """A route whose endpoint maps a request to a response, with no help from FastAPI.

    Its signature has what OpenAPI documents; only the request is passed.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = _application(endpoint)


class FastDispatch:
    """Passes requests for fast routes straight to them, all others to the application."""

    def __init__(self, api: FastAPI, fast_routes: list[FastRoute]) -> None:
        self._api = api
        self._fast = {
            (method, route.path): route for route in fast_routes for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = None
        if scope["type"] == "http":
            route = self._fast.get((scope["method"], scope["path"]))
        if route is None:
            await self._api(scope, receive, send)
            return
        scope["app"], scope["route"] = self._api, route
        await route.app(scope, receive, send)


def _application(endpoint: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except ServiceError as error:
            response = await answer_error(request, error)
        except ClientDisconnect as error:
            response = await answer_disconnect(request, error)
        except Exception as error:
            response = await answer_unexpected(request, error)
            await response(scope, receive, send)
            raise
        await response(scope, receive, send)

    return application
