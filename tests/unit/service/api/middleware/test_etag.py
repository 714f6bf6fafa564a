"""GET answers under /v1 are not sent again to whoever has them."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.api.middleware.etag import ETagMiddleware


class Page:
    """An application that answers everything with the same chunks."""

    def __init__(self, *chunks: bytes, status: int = 200) -> None:
        self.chunks = chunks
        self.status = status

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        length = str(sum(map(len, self.chunks))).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, chunk in enumerate(self.chunks, 1):
            more = number < len(self.chunks)
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


def ask(
    page: Page, known: str | None = None, path: str = "/v1/models", method: str = "GET"
) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(ETagMiddleware(page))
        async with httpx.AsyncClient(transport=transport, base_url="http://foldnorm.test") as http:
            headers = {} if known is None else {"if-none-match": known}
            return await http.request(method, path, headers=headers)

    return asyncio.run(one())


def test_an_answer_has_a_tag_and_is_otherwise_as_it_was() -> None:
    response = ask(Page(b"one ", b"two"))
    assert (response.status_code, response.content) == (200, b"one two")
    assert response.headers["content-length"] == "7"
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["etag"].startswith('"')


def test_the_tag_is_of_the_content_and_not_of_its_chunks() -> None:
    tag = ask(Page(b"one two")).headers["etag"]
    assert ask(Page(b"one ", b"two")).headers["etag"] == tag
    assert ask(Page(b"one too")).headers["etag"] != tag


@pytest.mark.parametrize(
    "known", ["{tag}", "W/{tag}", '"other", {tag}', '"other",W/{tag} , "third"', "*"]
)
def test_who_has_the_answer_is_not_sent_it_again(known: str) -> None:
    page = Page(b"one ", b"two")
    tag = ask(page).headers["etag"]
    response = ask(page, known.format(tag=tag))
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == tag
    assert "content-length" not in response.headers


@pytest.mark.parametrize("known", ["", '"other"', "{bare}", 'W/"{bare}x"', '"{bare}', '*, "other"'])
def test_who_has_something_else_is_sent_the_answer(known: str) -> None:
    page = Page(b"one two")
    bare = ask(page).headers["etag"].strip('"')
    response = ask(page, known.format(bare=bare))
    assert (response.status_code, response.content) == (200, b"one two")


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_has_no_tag_and_is_always_sent(status: int) -> None:
    response = ask(Page(b"sorry", status=status), "*")
    assert (response.status_code, response.content) == (status, b"sorry")
    assert "etag" not in response.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/predict"), ("GET", "/v2/models/a"), ("GET", "/metrics"), ("GET", "/v1")],
)
def test_nothing_else_is_tagged(method: str, path: str) -> None:
    response = ask(Page(b"one two"), "*", path, method)
    assert (response.status_code, response.content) == (200, b"one two")
    assert "etag" not in response.headers
