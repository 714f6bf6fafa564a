"""Addresses and what replies say; the wire itself is in the integration tests."""

import pytest

from training.client.connection import Reply, check_url
from training.client.errors import RequestError


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://example.org/", "https://example.org"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_an_address_is_taken_without_a_path(url, base):
    assert check_url(url) == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:0",
        "http://a/v1",
        "http://[a",
    ],
)
def test_what_is_no_servers_address_is_refused(url):
    with pytest.raises(RequestError, match=r"give one as http://127\.0\.0\.1:8000"):
        check_url(url)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"detail": "too large; send less"}', "too large; send less"),
        (b'{"error": "no such model"}', "no such model"),  # as v2 has it
        (b'{"detail": []}', "the server answered 404 Not Found and gave no reason"),
        (b"<html>", "the server answered 404 Not Found and gave no reason"),
        (b"", "the server answered 404 Not Found and gave no reason"),
    ],
)
def test_a_reply_gives_the_servers_reason(body, detail):
    assert Reply(404, {}, body).detail == detail


def test_a_status_without_a_name_is_no_trouble():
    assert Reply(499, {}, b"").detail == (
        "the server answered 499 an unknown status and gave no reason"
    )
