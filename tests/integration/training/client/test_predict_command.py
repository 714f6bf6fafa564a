"""`foldnorm predict` over a real socket: what it prints, and how it fails."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from training.client.errors import RequestError, ServerError


def test_it_sends_the_file_and_prints_a_line(server, foldnorm, image):
    server.prediction()
    result = foldnorm("predict", image, "--url", server.url, "--model", "m@1.0.0", "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["label"] == "cat"
    ((path, headers, body),) = server.requests
    assert urlsplit(path).path == "/v1/predict"
    assert parse_qs(urlsplit(path).query) == {"top_k": ["5"], "model": ["m@1.0.0"]}
    assert headers["Content-Type"] == "application/octet-stream"
    assert body == image.read_bytes()


def test_the_table_names_file_label_and_probability(server, foldnorm, image):
    server.prediction("frog")
    result = foldnorm("predict", image, "--url", server.url)
    for cell in ("frog", "100.00%"):
        assert cell in result.stdout


def test_a_proxy_of_the_environment_is_not_asked(server, foldnorm, image, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.prediction()
    assert foldnorm("predict", image, "--url", server.url).exit_code == 0


def test_it_waits_for_a_busy_server_and_says_so(server, foldnorm, image):
    server.problem(503, "the queue is full", Retry_After="0")
    server.prediction()
    result = foldnorm("predict", image, "--url", server.url)
    assert result.exit_code == 0
    assert result.stderr == "foldnorm: the queue is full; trying again in 0 s (retry 1 of 3)\n"


@pytest.mark.parametrize(
    ("status", "error", "exit_code"),
    [
        (400, RequestError, 2),
        (404, RequestError, 2),
        (415, RequestError, 2),
        (500, ServerError, 1),
        (503, ServerError, 1),
        (504, ServerError, 1),
    ],
)
def test_the_exit_code_says_who_can_mend_it(server, foldnorm, image, status, error, exit_code):
    server.problem(status, "the reason", Retry_After="0")
    result = foldnorm("predict", image, "--url", server.url, "--retries", "1")
    assert isinstance(result.exception, error)
    assert result.exception.exit_code == exit_code
    assert "the reason" in f"{result.stderr}{result.exception}"


def test_a_file_that_is_refused_is_named(server, foldnorm, image):
    server.problem(422, "no image that can be decoded")
    result = foldnorm("predict", image, "--url", server.url)
    assert f"{image}: no image that can be decoded" in result.stderr
    assert "1 of 1 files were refused" in str(result.exception)


def test_a_server_that_is_not_there_is_server_trouble(foldnorm, image):
    result = foldnorm("predict", image, "--url", "http://127.0.0.1:9")
    assert isinstance(result.exception, ServerError)
    assert "cannot reach http://127.0.0.1:9 (Connection refused)" in str(result.exception)


def test_a_server_that_hangs_up_is_server_trouble(server, foldnorm, image):
    server.script.append((None, {}, b""))
    result = foldnorm("predict", image, "--url", server.url)
    assert isinstance(result.exception, ServerError)
    assert "broke off before the answer was whole" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such.png",), "there is no file 'no-such.png'"),
        (("/proc/self/cmdline", "--url", "localhost"), "'localhost' is no server's address"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_any_request(foldnorm, arguments, message):
    result = foldnorm("predict", *arguments)
    assert isinstance(result.exception, RequestError)
    assert message in str(result.exception)
