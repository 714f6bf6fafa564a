"""A server under test: its start, its memory, its end.

Every server leads a session of its own, so that all its processes can be found in /proc, whatever
started them, and none outlives the benchmark.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).parents[2]
PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LONGEST_START_S = 60.0
LONGEST_STOP_S = 2.0
QUIET_WINDOW_S = 0.25
QUIET_SHARE = 0.3  # of one core: LitServe's polling takes less, a worker that loads takes all
LONGEST_UNREST_S = 3.0


class ServerFailedError(Exception):
    """A server did not start, or ended by itself; the message has the last lines of its log."""


class Server:
    """A process group that listens on a free port of loopback.

    Args:
        command: program and arguments; `{port}` becomes the port.
        environment: variables to set beside those of this process.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self._environment = {**os.environ, **environment}

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LONGEST_STOP_S)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(LONGEST_STOP_S)
        # Those that it started are gone once init has waited for them.
        deadline = time.perf_counter() + LONGEST_STOP_S
        while self.pids() and time.perf_counter() < deadline:
            time.sleep(0.01)
        self._log.close()

    def wait_for_answer(self, answers: Callable[[], bool]) -> float:
        """Return the seconds from the start of the process to its first answer.

        Raises:
            ServerFailedError: it ended, or did not answer in time.
        """
        while time.perf_counter() - self.started_at < LONGEST_START_S:
            with suppress(OSError):
                if answers():
                    return time.perf_counter() - self.started_at
            if self.process.poll() is not None:
                raise ServerFailedError(f"ended with {self.process.returncode}: {self.log_tail()}")
            time.sleep(0.01)
        raise ServerFailedError(f"no answer within {LONGEST_START_S:.0f} s: {self.log_tail()}")

    def wait_until_quiet(self) -> None:
        """Return when the processes rest, which is when all workers are up; or after 3 seconds.

        A server that polls never rests.
        """
        until = time.perf_counter() + LONGEST_UNREST_S
        while time.perf_counter() < until:
            before = self._cpu_seconds()
            time.sleep(QUIET_WINDOW_S)
            if self._cpu_seconds() - before < QUIET_SHARE * QUIET_WINDOW_S:
                return

    def pids(self) -> list[int]:
        """Return the processes of the session, the first one first."""
        numbers = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
        return [pid for pid in sorted(numbers) if _session(pid) == self.process.pid]

    def memory_mib(self) -> list[float]:
        """Return the proportional set size of each process, largest first, in MiB."""
        sizes = [_proportional_mib(pid) for pid in self.pids()]
        return sorted((size for size in sizes if size > 0), reverse=True)

    def log_tail(self) -> str:
        """Return the last lines that the server wrote."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-1500:]

    def _cpu_seconds(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0  # utime, stime
        return ticks / TICKS_PER_SECOND


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold blanks; empty if gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields and fields[0] != "Z" else -1


def _proportional_mib(pid: int) -> float:
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
    return round(int(sizes[0]) / 1024, 1) if sizes else 0.0
