"""One process that listens for many: it forks the workers, replaces those that die, and stops all.

    supervisor ──fork──► worker 1 ◄── socket 1 ─┐
               ──fork──► worker 2 ◄── socket 2 ─┴─ SO_REUSEPORT: the kernel spreads connections

The sockets are the supervisor's. Connections that reach a worker's socket while it is being
replaced wait there instead of being refused, and its siblings notice nothing. Everything that a
worker imports is imported before the fork: its memory is shared, and a new worker needs only to
load the models.

A worker ends when its supervisor does, however that ends: its line is closed then.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from service.line import Line
from service.listener import open_listeners, port_of, url_of
from service.metrics_folder import forget_gauges
from service.rollout import Order, Rollout
from service.worker_place import LONGEST_PAUSE_S, Assignment, WorkerPlace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger("foldnorm")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
START_SECONDS = 120.0  # for all models to be read, measured and proven, on a busy machine too
TICK_S = 0.5
UNKNOWN_REASON = "its log says why"


class StartError(Exception):
    """The workers cannot start; the message says why, `kind` is the name of its cause."""

    def __init__(self, reason: str, kind: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass
class Supervisor:
    """Keeps the workers running until a signal.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        count: how many workers.
        work: what a worker does; runs in the child, and its return ends the worker. A `StartError`
            that it raises is what the supervisor says if it never served.
        metrics: folder of the metrics that the workers share.
        stop_seconds: how long the workers may take to stop before they are killed.
        start_seconds: how long a worker may take before it serves.
        places: where workers serve; `retired` are those that others took over from.
    """

    host: str
    port: int
    count: int
    work: Callable[[Assignment], None]
    metrics: Path
    stop_seconds: float
    start_seconds: float = START_SECONDS
    places: list[WorkerPlace] = field(default_factory=list)
    retired: list[WorkerPlace] = field(default_factory=list)

    def run(self) -> None:
        """Return after a signal, when all workers are gone.

        Raises:
            StartError: a worker died before all of them served for the first time.
            OSError: the address cannot be listened on.
        """
        self._changes = Rollout(self._start_successor, self._take_over, WorkerPlace.kill)
        self._stopping = self._announced = False
        self._failure: str | None = None
        gc.freeze()  # the collector writes to what it looks at, and would unshare it
        for number, listener in enumerate(open_listeners(self.host, self.port, self.count), 1):
            self.places.append(WorkerPlace(number, listener))
        self.port = port_of(self.places[0].listener)
        self._selector = selectors.DefaultSelector()
        self._catch_signals()
        try:
            while not self._stopping and self._failure is None:
                self._start_workers()
                self._go_on_with_changes()
                self._wait()
        finally:
            self._stop()
        if self._failure is not None:
            raise StartError(self._failure)

    def _catch_signals(self) -> None:
        self._wake, self._wake_writer = socket.socketpair()
        for end in (self._wake, self._wake_writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._selector.register(self._wake, selectors.EVENT_READ, None)

    def _on_stop(self, number: int, _frame: Any) -> None:
        if self._stopping and number == signal.SIGINT:
            for place in self._all():
                place.hurry()
        self._stopping = True

    def _start_workers(self) -> None:
        for place in self.places:
            if place.state == "empty" and self._may_start(place):
                self._fork(place, Order(self._changes.served))

    def _may_start(self, place: WorkerPlace) -> bool:
        """Return whether it is time: a worker that starts in a change would miss it."""
        return not self._changes.active and time.monotonic() >= place.start_at

    def _fork(self, place: WorkerPlace, order: Order) -> None:
        ours, theirs = socket.socketpair()
        # A signal that reaches the child before it has given up the supervisor's handlers would
        # be lost in them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(place, order, ours, theirs)
        except OSError as exc:
            ours.close()
            place.start_at = time.monotonic() + LONGEST_PAUSE_S
            logger.error("a worker cannot be started", extra={"fields": {"reason": str(exc)}})
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        place.begin(pid, Line(ours), self.start_seconds)
        self._selector.register(ours, selectors.EVENT_READ, place)

    def _become_worker(
        self, place: WorkerPlace, order: Order, ours: socket.socket, theirs: socket.socket
    ) -> NoReturn:
        """Turn this process, just forked, into a worker."""
        status = 1
        try:
            self._let_go(place)
            ours.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            self.work(Assignment(place.number, place.listener, theirs, order))
            status = 0
        except StartError as error:
            Line(theirs).send({"kind": "failed", "reason": str(error), "error": error.kind})
        except SystemExit as end:  # uvicorn's, which has logged why
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _let_go(self, place: WorkerPlace) -> None:
        """Give up what is the supervisor's: signal handlers, lines and the others' sockets."""
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._wake.close()
        self._wake_writer.close()
        for other in self._all():
            if other.listener is not place.listener:
                other.listener.close()
            if other.line is not None:
                other.line.close()

    def _go_on_with_changes(self) -> None:
        if all(place.state != "starting" for place in self.places):
            self._changes.go_on(self.places)

    def _start_successor(self, place: WorkerPlace, order: Order) -> WorkerPlace:
        """Start the worker that is to take over; its number is one that no process has."""
        used = {one.number for one in self._all()}
        number = next(number for number in itertools.count(1) if number not in used)
        successor = WorkerPlace(number, place.listener)
        self._fork(successor, order)
        return successor

    def _take_over(self, place: WorkerPlace, successor: WorkerPlace) -> None:
        """Give the place to its successor, and let the one before it finish what it has."""
        self.places[self.places.index(place)] = successor
        if place.line is not None:
            place.line.send({"kind": "retire"})
            place.retire(self.stop_seconds)
        if place.pid:
            self.retired.append(place)

    def _all(self) -> list[WorkerPlace]:
        successor = self._changes.successor
        return [*self.places, *self.retired, *([successor] if successor else [])]

    def _wait(self) -> None:
        """Handle what the workers say, until a worker dies or a moment has passed."""
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._hear(key.data)
        for place in self._all():
            self._look_after(place)

    def _seconds_to_wait(self) -> float:
        if self._stopping or self._changes.active:
            return TICK_S
        starts = [place.start_at for place in self.places if place.state == "empty"]
        return max(0.0, min([TICK_S, *(start - time.monotonic() for start in starts)]))

    def _hear(self, place: WorkerPlace) -> None:
        if place.line is None:
            return
        for message in place.line.receive():
            if message["kind"] == "failed":
                place.reason, place.error = message["reason"], message["error"]
            elif message["kind"] == "change":
                self._changes.ask(place.line, message)
            elif message["kind"] == "serving" and place.state == "starting":
                seconds = place.serve()
                if place is self._changes.successor:
                    self._changes.serve(message["models"])
                else:
                    self._changes.served = frozenset(message["models"])
                self._announce(place, seconds)

    def _announce(self, place: WorkerPlace, seconds: float) -> None:
        fields: dict[str, Any] = {"pid": place.pid, "seconds": round(seconds, 3)}
        logger.info("a worker serves", extra={"fields": fields})
        if not self._announced and all(place.state == "serving" for place in self.places):
            self._announced = True
            url = url_of(self.host, place.listener)
            fields = {"url": url, "workers": [place.pid for place in self.places]}
            logger.info("serving", extra={"fields": fields})

    def _look_after(self, place: WorkerPlace) -> None:
        """See whether a worker lives, and has not to be ended."""
        ended = place.bury()
        if ended is not None:
            self._replace(place, ended)
        elif place.line is not None and place.line.ended:
            self._hang_up(place)
            place.leave(self.stop_seconds)  # nobody could tell it of a change any more
        elif place.kill_if_due():
            logger.error("a worker hangs and is killed", extra={"fields": {"pid": place.pid}})

    def _replace(self, place: WorkerPlace, ended: int) -> None:
        """Note the end of a worker, and when the next one starts."""
        self._hear(place)  # its last words
        self._hang_up(place)
        forget_gauges(self.metrics, place.number)
        pid, reason = place.pid, place.reason
        if self._stopping or self._failure is not None or place in self.retired:
            place.pid = 0
            self.retired = [one for one in self.retired if one.pid]
            return
        if place is self._changes.successor:
            place.pid = 0
            self._changes.fail(
                place.error, reason or f"a new worker did not serve; {UNKNOWN_REASON}"
            )
            return
        if not (place.served or self._announced):
            self._failure, place.pid = _failure(ended, reason), 0
            return
        if not place.served:
            reason = reason or UNKNOWN_REASON
        pause_s = place.vacate(self.host)
        fields: dict[str, Any] = {"pid": pid, "status": ended, "next_in_seconds": pause_s}
        if reason:
            fields["reason"] = reason
        logger.error("a worker died", extra={"fields": fields})

    def _hang_up(self, place: WorkerPlace) -> None:
        line, place.line = place.line, None
        if line is not None:
            self._selector.unregister(line.socket)
            line.close()
            self._changes.lose(line)

    def _stop(self) -> None:
        """Let the workers finish what they have accepted, and kill what takes too long."""
        if self._announced:
            logger.info("stopping")
        self._stopping = True
        self._changes.close()
        for place in self._all():
            place.listener.close()  # the workers' own copies stay open until they are drained
            place.leave(self.stop_seconds)
        while any(place.pid for place in self._all()):
            self._wait()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake.close()
        self._wake_writer.close()


def _failure(ended: int, reason: str | None) -> str:
    if reason is not None:
        return reason
    how = f"was killed by signal {-ended}" if ended < 0 else f"ended with status {ended}"
    return f"a worker {how} before it served; {UNKNOWN_REASON}"
