"""One place for a process: its number and its socket stay, its process may change."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from service.listener import admit_newcomers, port_of, stand_by

if TYPE_CHECKING:
    import socket

    from service.line import Line
    from service.rollout import Order

FIRST_PAUSE_S = 0.1  # before a worker that died young is replaced; then twice that
LONGEST_PAUSE_S = 5.0
State = Literal["empty", "starting", "serving", "retired", "leaving"]
STEADY_SECONDS = 10.0  # of service; who dies earlier died young


@dataclass(frozen=True)
class Assignment:
    """What a worker is given.

    Attributes:
        place: its number, from 1; no two workers that live have the same.
        listener: the socket that it answers on.
        line: its end of the connection to the supervisor.
        order: the models to serve.
    """

    place: int
    listener: socket.socket
    line: socket.socket
    order: Order


@dataclass(eq=False)
class WorkerPlace:
    """A process, or the wait for the next one.

    Attributes:
        state: `leaving` is a worker that has hung up and will soon be gone, `retired` one whose
            successor serves.
        since: when the state began.
        served_since: when its process began to serve; None if it has not.
        due: when the process is killed, unless its state changes before.
        deaths: how many in a row died young.
        reason: what a worker that failed said of it, and `error` the name of what it was.
    """

    number: int
    listener: socket.socket
    state: State = "empty"
    pid: int = 0
    line: Line | None = None
    since: float = 0.0
    served_since: float | None = None
    due: float = math.inf
    deaths: int = 0
    start_at: float = 0.0
    reason: str | None = None
    error: str | None = None

    def begin(self, pid: int, line: Line, limit_s: float) -> None:
        """Note a process that has `limit_s` to begin to serve."""
        self.pid, self.line, self.reason, self.served_since = pid, line, None, None
        self._enter("starting", limit_s)

    def serve(self) -> float:
        """Note that the process answers; return the seconds that it took."""
        asked_at = self.since
        self._enter("serving", math.inf)
        self.served_since = self.since
        return self.since - asked_at

    @property
    def served(self) -> bool:
        """Whether its process has begun to serve; one that fails hangs up before it is gone."""
        return self.served_since is not None

    def leave(self, limit_s: float) -> None:
        """Ask the process to finish within `limit_s`."""
        if self.pid and self.state != "leaving":
            os.kill(self.pid, signal.SIGTERM)
            self._enter("leaving", limit_s)

    def retire(self, limit_s: float) -> None:
        """Note that the process was asked to answer those it has, and then to end."""
        self._enter("retired", limit_s)

    def hurry(self) -> None:
        """Have a process that drains stop at once."""
        if self.pid:
            os.kill(self.pid, signal.SIGINT)

    def kill_if_due(self) -> bool:
        """Kill the process if its time is over; return whether it was."""
        if not self.pid or time.monotonic() < self.due:
            return False
        self.kill()
        self.due = math.inf
        return True

    def kill(self) -> None:
        """Kill the process; it is buried like any other."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> int | None:
        """Return how the process ended (negative: by which signal), None while it lives."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def vacate(self, host: str) -> float:
        """Prepare the place for the next process; return the seconds to wait for it.

        Connections wait for a worker that is replaced. One that cannot even start keeps nobody
        waiting: its socket is closed, and the next worker listens on a new one when it is ready.
        """
        lived = 0.0 if self.served_since is None else time.monotonic() - self.served_since
        self.deaths = 0 if lived >= STEADY_SECONDS else self.deaths + 1
        if not self.served:
            port = port_of(self.listener)
            self.listener.close()
            self.listener = stand_by(host, port)
        admit_newcomers(self.listener)
        self.pid = 0
        self._enter("empty", math.inf)
        pause_s = _pause_s(self.deaths)
        self.start_at = self.since + pause_s
        return pause_s

    def _enter(self, state: State, s: float) -> None:
        self.state, self.since = state, time.monotonic()
        self.due = self.since + s


def _pause_s(deaths: int) -> float:
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (deaths - 1)) if deaths else 0.0
