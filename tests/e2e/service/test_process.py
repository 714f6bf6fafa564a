"""A real `foldnorm-serve` on loopback: it starts, answers, drains and ends with 0."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.processes import LoggedProcess, wait_until

SECONDS = 30  # for anything: a loaded machine is slow, but not that slow
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def serve(artifacts: Path, folder: Path, **variables: str) -> LoggedProcess:
    """Start a service in another folder than the source's."""
    command = [sys.executable, "-m", "service", "--port", "0", "--artifacts", str(artifacts)]
    return LoggedProcess(command, folder, **variables)


@pytest.fixture
def process(artifacts: Path, tmp_path: Path) -> Iterator[LoggedProcess]:
    with contextlib.closing(serve(artifacts, tmp_path)) as process:
        yield process


@pytest.fixture
def url(process: LoggedProcess) -> str:
    answer: str = process.wait_for("serving")["url"]
    return answer


@pytest.fixture
def image(png: Callable[[NDArray[np.uint8]], bytes]) -> bytes:
    return png(IMAGE)


def test_it_classifies_and_compares_from_any_folder(url: str, image: bytes) -> None:
    headers = {"content-type": "image/png"}
    with httpx.Client(base_url=url, timeout=SECONDS) as http:
        assert http.get("/health/ready").status_code == 200
        prediction = http.post("/v1/predict?top_k=3", content=image, headers=headers).json()
        comparison = http.post("/v1/compare", content=image, headers=headers).json()
    assert len(prediction["predictions"][0]["top"]) == 3
    assert (
        prediction["predictions"][0]["label"] == comparison["models"][0]["predictions"][0]["label"]
    )
    assert len(comparison["models"]) == 3


def test_its_log_says_how_it_runs_and_has_a_line_per_failure(
    process: LoggedProcess, url: str
) -> None:
    started = next(
        line for line in process.log if line["message"] == "models are loaded and proven"
    )
    assert started["models"] == ["tiny-bn@1.0.0", "tiny-bn-unfolded@1.0.0", "tiny-plain@1.0.0"]
    assert started["provider"].endswith("ExecutionProvider")
    assert started["threads"] >= 1
    httpx.get(f"{url}/health/live", headers={"x-request-id": "not mine"}, timeout=SECONDS)
    httpx.get(f"{url}/v1/models/none", headers={"x-request-id": "mine"}, timeout=SECONDS)
    line = process.wait_for("request")
    assert (line["request_id"], line["method"], line["path"], line["status"]) == (
        "mine",
        "GET",
        "/v1/models/none",
        404,
    )


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(
    process: LoggedProcess, url: str, image: bytes
) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(image)}\r\n\r\n"
        )
        connection.sendall(head.encode() + image[:10])
        wait_until(lambda: _in_progress(url), "the request to arrive")
        process.signal(signal.SIGTERM)
        wait_until(
            lambda: httpx.get(f"{url}/health/ready", timeout=SECONDS).status_code == 503,
            "readiness to end",
        )
        refused = httpx.post(
            f"{url}/v1/predict",
            content=image,
            headers={"content-type": "image/png"},
            timeout=SECONDS,
        )
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:foldnorm:problem:draining"
        assert int(refused.headers["retry-after"]) >= 1
        connection.sendall(image[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert process.end() == (0, "")


def test_a_request_that_never_ends_does_not_keep_it_from_stopping(
    artifacts: Path, tmp_path: Path, image: bytes
) -> None:
    variables = {"FOLDNORM_DRAIN_SECONDS": "0.3", "FOLDNORM_DEADLINE_MS": "60000"}
    with contextlib.closing(serve(artifacts, tmp_path, **variables)) as process:
        url = process.wait_for("serving")["url"]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            head = (
                f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
                "Content-Length: 1000\r\n\r\n"
            )
            connection.sendall(head.encode() + image[:10])
            wait_until(lambda: _in_progress(url), "the request to arrive")
            process.signal(signal.SIGTERM)
            code, _ = process.end()
        assert code == 0


def _in_progress(url: str) -> bool:
    """Whether a request with images is being answered."""
    text = httpx.get(f"{url}/metrics", timeout=SECONDS).text
    return "foldnorm_work_in_progress 1.0" in text
