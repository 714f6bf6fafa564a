"""A slot for one worker: its number and its socket stay, its process may change."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.processes.channel import Channel
from service.processes.sockets import accept_new_connections, bind_standby, port_of

FIRST_PAUSE_S = 0.1  # before a worker that died early is replaced; then twice that
MAX_PAUSE_S = 5.0
STEADY_SECONDS = 10.0  # of service; a worker that dies sooner died early


@dataclass(frozen=True)
class Assignment:
    """What a worker is given.

    Attributes:
        slot: its number, from 1; no two workers that live have the same.
        listener: the socket that it answers on.
        channel: its end of the connection to the supervisor.
        served: models to serve, each as name@version; empty for all that are on disk.
    """

    slot: int
    listener: socket.socket
    channel: socket.socket
    served: frozenset[str]


@dataclass(eq=False)
class WorkerSlot:
    """A process, or the wait for the next one.

    Attributes:
        state: `stopping` is a worker that was asked to end, or has closed its channel.
        since: when the state began.
        served_since: when its process began to serve; None if it has not.
        due: when the process is killed, unless its state changes before.
        deaths: how many in a row died early.
        reason: what a worker that failed said of it.
        clock: seconds that only grow.
    """

    number: int
    listener: socket.socket
    state: Literal["empty", "starting", "serving", "stopping"] = "empty"
    pid: int = 0
    channel: Channel | None = None
    since: float = 0.0
    served_since: float | None = None
    due: float = math.inf
    deaths: int = 0
    start_at: float = 0.0
    reason: str | None = None
    clock: Callable[[], float] = time.monotonic

    def begin(self, pid: int, channel: Channel, limit_s: float) -> None:
        """Note a process that has `limit_s` to begin to serve."""
        self.pid, self.channel, self.reason, self.served_since = pid, channel, None, None
        self._enter("starting", limit_s)

    def serve(self) -> float:
        """Note that the process answers; return the seconds that it took."""
        asked_at = self.since
        self._enter("serving", math.inf)
        self.served_since = self.since
        return self.since - asked_at

    @property
    def served(self) -> bool:
        """Whether its process has begun to serve; one that fails ends its channel before itself."""
        return self.served_since is not None

    def terminate(self, limit_s: float) -> None:
        """Ask the process to finish within `limit_s`."""
        if self.pid and self.state != "stopping":
            os.kill(self.pid, signal.SIGTERM)
            self._enter("stopping", limit_s)

    def interrupt(self) -> None:
        """Have a process that drains stop at once."""
        if self.pid:
            os.kill(self.pid, signal.SIGINT)

    def kill_if_due(self) -> bool:
        """Kill the process if its time is over; return whether it was."""
        if not self.pid or self.clock() < self.due:
            return False
        self.kill()
        self.due = math.inf
        return True

    def kill(self) -> None:
        """Kill the process; it is reaped like any other."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> int | None:
        """Return how the process ended (negative: by which signal), None while it lives."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def reset(self, host: str) -> float:
        """Prepare the slot for the next process; return the seconds to wait for it.

        Connections wait for a worker that is replaced. One that cannot even start keeps nobody
        waiting: its socket is closed, and the next worker listens on a new one when it is ready.
        """
        lived = 0.0 if self.served_since is None else self.clock() - self.served_since
        self.deaths = 0 if lived >= STEADY_SECONDS else self.deaths + 1
        if not self.served:
            port = port_of(self.listener)
            self.listener.close()
            self.listener = bind_standby(host, port)
        accept_new_connections(self.listener)
        self.pid = 0
        self._enter("empty", math.inf)
        pause_s = _pause_s(self.deaths)
        self.start_at = self.since + pause_s
        return pause_s

    def _enter(self, state: Literal["empty", "starting", "serving", "stopping"], s: float) -> None:
        self.state, self.since = state, self.clock()
        self.due = self.since + s


def _pause_s(deaths: int) -> float:
    return min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (deaths - 1)) if deaths else 0.0
