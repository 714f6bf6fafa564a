"""A real `foldnorm-serve` on loopback: it starts, answers, drains and ends with 0."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SECONDS = 30  # for anything: a loaded machine is slow, but not that slow
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


class Process:
    """A server whose log lines are read as they come."""

    def __init__(self, artifacts: Path, folder: Path, **variables: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service", "--port", "0", "--artifacts", str(artifacts)],
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.log: list[dict[str, Any]] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def wait_for(self, message: str) -> dict[str, Any]:
        """Return the log line with this message, as soon as it comes."""
        until = time.monotonic() + SECONDS
        while True:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            self.log.append(json.loads(line))
            if self.log[-1]["message"] == message:
                return self.log[-1]

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> tuple[int, str]:
        """Return the exit code and what was written to standard error."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        while not self._lines.empty():
            self.log.append(json.loads(self._lines.get()))
        assert self._process.stderr is not None
        return code, self._process.stderr.read()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def process(artifacts: Path, tmp_path: Path) -> Iterator[Process]:
    with contextlib.closing(Process(artifacts, tmp_path)) as process:
        yield process


@pytest.fixture
def url(process: Process) -> str:
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


def test_its_log_says_how_it_runs_and_has_a_line_per_failure(process: Process, url: str) -> None:
    started = next(
        line for line in process.log if line["message"] == "models are loaded and proven"
    )
    assert started["models"] == ["tiny-bn@1.0.0", "tiny-bn-unfolded@1.0.0", "tiny-plain@1.0.0"]
    assert started["provider"].endswith("ExecutionProvider")
    assert started["threads"] >= 1
    httpx.get(f"{url}/health/live", headers={"x-request-id": "not mine"}, timeout=SECONDS)
    httpx.get(f"{url}/v1/models/none", headers={"x-request-id": "mine"}, timeout=SECONDS)
    line = process.wait_for("request")
    assert (
        line["request_id"],
        line["method"],
        line["path"],
        line["status"],
    ) == ("mine", "GET", "/v1/models/none", 404)


def test_its_log_has_a_line_for_every_request_if_it_is_told(
    artifacts: Path, tmp_path: Path
) -> None:
    with contextlib.closing(Process(artifacts, tmp_path, FOLDNORM_ACCESS_LOG="all")) as process:
        url = process.wait_for("serving")["url"]
        httpx.get(f"{url}/health/live", headers={"x-request-id": "mine"}, timeout=SECONDS)
        line = process.wait_for("request")
    assert (line["request_id"], line["path"], line["status"]) == ("mine", "/health/live", 200)


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(
    process: Process, url: str, image: bytes
) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Content-Type: image/png\r\nContent-Length: {len(image)}\r\n\r\n"
        )
        connection.sendall(head.encode() + image[:10])
        wait_until(lambda: _in_progress(url), "the request to arrive")
        process.terminate()
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
    with contextlib.closing(Process(artifacts, tmp_path, **variables)) as process:
        url = process.wait_for("serving")["url"]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            head = (
                f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
                "Content-Length: 1000\r\n\r\n"
            )
            connection.sendall(head.encode() + image[:10])
            wait_until(lambda: _in_progress(url), "the request to arrive")
            process.terminate()
            code, _ = process.end()
        assert code == 0


def test_an_idle_server_ends_at_once_and_silently(process: Process, url: str) -> None:
    assert url
    process.terminate()
    assert process.end() == (0, "")


def test_a_damaged_artefact_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "broken-1.0.0"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with contextlib.closing(Process(folder.parent, tmp_path)) as process:
        code, error = process.end()
    assert code == 1
    (line,) = error.splitlines()
    assert "schema_version None" in line


def wait_until(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until, f"waited {SECONDS} s for {what}"
        time.sleep(0.02)


def _in_progress(url: str) -> bool:
    """Whether a request with images is being answered."""
    text = httpx.get(f"{url}/metrics", timeout=SECONDS).text
    return "foldnorm_work_in_progress 1.0" in text
