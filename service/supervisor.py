"""One process that listens for many: it forks the workers, replaces those that die, and stops all.

    supervisor ──fork──► worker 1 ◄── socket 1 ─┐
               ──fork──► worker 2 ◄── socket 2 ─┴─ SO_REUSEPORT: the kernel spreads connections

The sockets are the supervisor's. Connections that reach a worker's socket while it is being
replaced wait there instead of being refused, and its siblings notice nothing. Everything that a
worker imports is imported before the fork: its memory is shared, and a new worker needs only to
load the models.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client.multiprocess import mark_process_dead

from service.change import ChangeRound
from service.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("foldnorm")

BACKLOG = 2048
FIRST_PAUSE_S = 0.1  # before a worker that died before it served is started again; then twice that
LONGEST_PAUSE_S = 5.0
TICK_S = 0.5


@dataclass
class Worker:
    """One place for a process: its socket stays, its process may change."""

    listener: socket.socket
    pid: int = 0
    line: Line | None = None
    serving: bool = False
    failures: int = 0  # deaths in a row before it served
    start_at: float = 0.0


@dataclass
class Supervisor:
    """Keeps the workers running until a signal.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        count: how many workers.
        work: what a worker does with its socket, its line and the names of unloaded models; runs
            in the child, and its return ends the worker.
        stop_seconds: how long the workers may take to stop before they are killed.
    """

    host: str
    port: int
    count: int
    work: Callable[[socket.socket, socket.socket, frozenset[str]], None]
    stop_seconds: float
    workers: list[Worker] = field(default_factory=list)

    def run(self) -> int:
        """Return the exit status: 0 after a signal, 1 if the workers cannot start."""
        self._selector = selectors.DefaultSelector()
        self._changes = ChangeRound(lambda: [w.line for w in self.workers if w.line])
        self._stopping = False
        self._announced = False
        gc.freeze()  # the collector writes to what it looks at, and would unshare it
        self._open_sockets()
        self._catch_signals()
        while not self._stopping:
            if not self._start_workers():
                break
            self._changes.go_on(everyone_serves=all(worker.serving for worker in self.workers))
            self._wait()
        return self._stop()

    def _open_sockets(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for _ in range(self.count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
            self.port = listener.getsockname()[1]
            self.workers.append(Worker(listener))

    def _catch_signals(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._wake, self._wake_writer = reader, writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._selector.register(reader, selectors.EVENT_READ, None)

    def _on_stop(self, _number: int, _frame: Any) -> None:
        self._stopping = True

    def _start_workers(self) -> bool:
        """Start every worker that is due; return whether it makes sense to go on."""
        for worker in self.workers:
            if worker.pid or self._changes.active or time.monotonic() < worker.start_at:
                continue
            if worker.failures and not self._announced:
                return False  # what keeps the first workers from starting would keep the next ones
            self._fork(worker)
        return True

    def _fork(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._become_worker(worker, ours, theirs)
        theirs.close()
        worker.pid, worker.line, worker.serving = pid, Line(ours), False
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _become_worker(self, worker: Worker, ours: socket.socket, theirs: socket.socket) -> None:
        """Turn this process, just forked, into a worker; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            ours.close()
            self._selector.close()
            for other in self.workers:
                if other is not worker:
                    other.listener.close()
                if other.line is not None:
                    other.line.close()
            self.work(worker.listener, theirs, frozenset(self._changes.unloaded))
            status = 0
        finally:
            logging.shutdown()
            os._exit(status)

    def _wait(self) -> None:
        """Handle what the workers say, until a worker dies or a moment has passed."""
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._hear(key.data)
        self._bury()

    def _seconds_to_wait(self) -> float:
        due = [worker.start_at - time.monotonic() for worker in self.workers if not worker.pid]
        return max(0.0, min([TICK_S, *due]))

    def _hear(self, worker: Worker) -> None:
        assert worker.line is not None
        for message in worker.line.receive():
            if message["kind"] == "serving":
                worker.serving, worker.failures = True, 0
                self._announce()
            else:
                self._changes.hear(worker.line, message)
        if worker.line.ended:
            self._hang_up(worker)

    def _announce(self) -> None:
        if self._announced or not all(worker.serving for worker in self.workers):
            return
        self._announced = True
        host = f"[{self.host}]" if ":" in self.host else self.host
        fields = {"url": f"http://{host}:{self.port}", "workers": [w.pid for w in self.workers]}
        logger.info("serving", extra={"fields": fields})

    def _hang_up(self, worker: Worker) -> None:
        if worker.line is not None:
            self._selector.unregister(worker.line.socket)
            self._changes.lose(worker.line)
            worker.line.close()
            worker.line = None

    def _bury(self) -> None:
        """Note the workers that died, and when to replace them."""
        for worker in self.workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._hang_up(worker)
                mark_process_dead(pid)
                worker.failures += 0 if worker.serving else 1
                worker.pid, worker.serving = 0, False
                worker.start_at = time.monotonic() + _pause_s(worker.failures)
                if not self._stopping:
                    fields = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
                    logger.error("a worker died", extra={"fields": fields})

    def _stop(self) -> int:
        """Let the workers finish what they have accepted, and kill what takes too long."""
        failed = not self._stopping
        self._stopping = True
        for worker in self.workers:
            worker.listener.close()  # the workers' own copies stay open until they are drained
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        until = time.monotonic() + self.stop_seconds
        while any(worker.pid for worker in self.workers) and time.monotonic() < until:
            self._wait()
        for worker in self.workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
        return 1 if failed else 0


def _pause_s(failures: int) -> float:
    """Return how long to wait after so many deaths in a row; none after one that had served."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1)) if failures else 0.0
