"""Fast routes answer as all others do, errors included."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.fast_route import FastDispatch, FastRoute
from service.api.problems import install_problem_handlers
from service.errors import MalformedRequestError, OverloadedError

ERRORS: dict[str, Exception] = {
    "malformed": MalformedRequestError("top_k=0 is out of range"),
    "full": OverloadedError("the queue is full", 6.2),
    "gone": ClientDisconnect(),
    "bug": ZeroDivisionError("a secret"),
}


async def answer(request: Request) -> Response:
    """Answer with the query, or fail as it says."""
    query = request.scope["query_string"].decode()
    if query in ERRORS:
        raise ERRORS[query]
    return Response(query, media_type="text/plain")


def make_app(route_class: type[APIRoute], others: ASGIApp | None = None) -> tuple[FastAPI, ASGIApp]:
    """Return an application whose one route is of a class, and what dispatches to it or others."""
    router = APIRouter(route_class=route_class)
    router.add_api_route("/items", answer, methods=["POST"])
    api = FastAPI(redirect_slashes=False)
    install_problem_handlers(api)
    api.include_router(router)
    fast = [route for route in router.routes if isinstance(route, FastRoute)]
    return api, FastDispatch(others or api, fast)


class Labelled:
    """Gives requests the id that a middleware would, and keeps their scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        scope.setdefault("state", {})["request_id"] = "id-1"
        await self._app(scope, receive, send)


def ask(
    app: ASGIApp,
    query: str = "hello",
    method: str = "POST",
    path: str = "/items",
    *,
    raises: bool = False,
) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(Labelled(app), raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://foldnorm.test") as http:
            return await http.request(method, f"{path}?{query}")

    return asyncio.run(one())


@pytest.mark.parametrize("query", ["hello", *ERRORS])
def test_a_fast_route_answers_as_any_other_does(query: str) -> None:
    (slow, _), (api, fast) = make_app(APIRoute), make_app(FastRoute)
    expected = ask(slow, query)
    for found in (ask(fast, query), ask(api, query)):
        assert (found.status_code, found.content) == (expected.status_code, expected.content)
        assert found.headers == expected.headers


def test_a_failure_reaches_the_log_and_the_caller_learns_nothing() -> None:
    _, fast = make_app(FastRoute)
    response = ask(fast, "bug")
    assert "secret" not in response.text
    assert response.json()["request_id"] == "id-1"
    with pytest.raises(ZeroDivisionError, match="a secret"):
        ask(fast, "bug", raises=True)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/items", 405), ("POST", "/items/", 404)]
)
def test_what_is_not_fast_is_left_to_the_application(method: str, path: str, status: int) -> None:
    assert ask(make_app(FastRoute)[1], method=method, path=path).status_code == status


def test_only_what_is_not_fast_reaches_the_application() -> None:
    reached: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])
        await Response("not fast")(scope, receive, send)

    _, fast = make_app(FastRoute, application)
    assert ask(fast).text == "hello"
    assert ask(fast, path="/other").text == "not fast"
    assert reached == ["/other"]


def test_a_fast_request_knows_its_route_and_its_application() -> None:
    api, fast = make_app(FastRoute)
    labelled = Labelled(fast)
    ask(labelled)
    assert labelled.scope["route"].path == "/items"
    assert labelled.scope["app"] is api


def test_other_scopes_than_http_are_left_to_the_application() -> None:
    reached: list[str] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["type"])

    dispatch = FastDispatch(application, [])
    asyncio.run(dispatch({"type": "lifespan"}, None, None))
    assert reached == ["lifespan"]


def test_a_fast_route_is_documented_like_any_other() -> None:
    (slow, _), (api, _) = make_app(APIRoute), make_app(FastRoute)
    assert api.openapi() == slow.openapi()
    assert "post" in api.openapi()["paths"]["/items"]
