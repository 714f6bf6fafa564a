"""A real `foldnorm-serve` on loopback for the clients of other model servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # to start or to stop: a loaded machine is slow, but not that slow


@contextmanager
def serving(artifacts: Path, folder: Path, **variables: str) -> Iterator[str]:
    """Run a server of these artifacts and yield its URL; it must end with 0 and silently."""
    log, errors = folder / "server.log", folder / "server.err"
    # One process, so that every statistic is there as soon as the answer is.
    environment = {**os.environ, "FOLDNORM_WORKERS": "1", **variables}
    with log.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "--port", "0", "--artifacts", str(artifacts)],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=err,
        )
        try:
            yield _wait_for_url(process, log, errors)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
            assert errors.read_text(encoding="utf-8") == ""
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(SECONDS)


def _wait_for_url(process: subprocess.Popen[bytes], log: Path, errors: Path) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and json.loads(line)["message"] == "serving":
                url: str = json.loads(line)["url"]
                return url
        assert process.poll() is None, errors.read_text(encoding="utf-8")
        time.sleep(0.02)
    raise TimeoutError(f"the server did not start in {SECONDS} s; its log is {log}")
