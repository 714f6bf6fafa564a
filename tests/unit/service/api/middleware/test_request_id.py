from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.middleware.request_id import RequestIdMiddleware


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await send({"type": "other"})
        return
    body = scope["state"]["request_id"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def answer(scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(RequestIdMiddleware(app)(scope, receive, send))
    return sent


def ids(given: bytes | None) -> tuple[str, str]:
    """The id that the application sees and the id that the caller gets."""
    headers = [] if given is None else [(b"x-request-id", given)]
    start, body = answer({"type": "http", "headers": headers})
    return body["body"].decode(), dict(start["headers"])[b"x-request-id"].decode()


def test_a_plain_id_is_taken_as_it_is() -> None:
    assert ids(b"trace-1.a_B~") == ("trace-1.a_B~", "trace-1.a_B~")


@pytest.mark.parametrize("given", [None, b"", b"a b", b"x\ny", b'{"a":1}', b"x" * 129, b"\xff"])
def test_anything_else_is_replaced(given: bytes | None) -> None:
    seen, returned = ids(given)
    assert seen == returned
    assert len(seen) == 32


def test_every_request_gets_its_own() -> None:
    assert ids(None) != ids(None)


def test_other_connections_pass_through() -> None:
    assert answer({"type": "lifespan"}) == [{"type": "other"}]
