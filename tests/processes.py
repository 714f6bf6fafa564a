"""A process whose log is read as it comes, and what the system knows of it and its children."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # for anything: a loaded machine is slow, but not that slow


class LoggedProcess:
    """A process, in a group of its own, that writes one JSON object a line."""

    def __init__(self, command: Sequence[str], folder: Path = ROOT, **variables: str) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.log: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def wait_for(self, message: str) -> dict[str, Any]:
        """Return the next log line with this message, as soon as it comes."""
        until = time.monotonic() + SECONDS
        while True:
            line = json.loads(self._lines.get(timeout=max(0.0, until - time.monotonic())))
            self.log.append(line)
            if line["message"] == message:
                return dict(line)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Send a signal as a terminal does: to all."""
        os.killpg(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Return the exit code and what was written to standard error."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        while not self._lines.empty():
            self.log.append(json.loads(self._lines.get()))
        assert self._process.stderr is not None
        return code, self._process.stderr.read()

    def close(self) -> None:
        """End every process, whatever the test found."""
        if self._process.poll() is None:
            self.signal_group(signal.SIGKILL)
            self._process.wait(SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, those not yet reaped included."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    """Return the system's letter for a process: T is stopped, Z a zombie; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def lives(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    return state_of(pid) not in ("", "Z")


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails if it takes longer than anything may."""
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until, f"waited {SECONDS} s for {what}"
        time.sleep(0.02)
