"""One process that listens for many: it forks the workers, replaces those that die, and stops all.

    supervisor ──fork──► worker 1 ◄── socket 1 ─┐
               ──fork──► worker 2 ◄── socket 2 ─┴─ SO_REUSEPORT: the kernel spreads connections

The sockets are the supervisor's. Connections that reach a worker's socket while it is being
replaced wait there instead of being refused; the other workers are not affected. Everything that a
worker imports is imported before the fork: its memory is shared, and a new worker needs only to
load the models.

A worker ends when its supervisor does, however that ends: its channel is closed then.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from service.errors import StartError
from service.observability.shared_folder import forget_gauges
from service.processes.channel import Channel
from service.processes.model_change import ChangeRound
from service.processes.sockets import open_listeners, port_of, url_of
from service.processes.worker_slot import MAX_PAUSE_S, Assignment, WorkerSlot

logger = logging.getLogger("foldnorm")

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
START_SECONDS = 120.0  # for all models to be read, measured and proven, on a busy machine too
TICK_S = 0.5
UNKNOWN_REASON = "its log says why"


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
    """

    host: str
    port: int
    count: int
    work: Callable[[Assignment], None]
    metrics: Path
    stop_seconds: float
    start_seconds: float = START_SECONDS
    slots: list[WorkerSlot] = field(default_factory=list)

    def run(self) -> None:
        """Return after a signal, when all workers are gone.

        Raises:
            StartError: a worker died before all of them served for the first time.
            OSError: the address cannot be listened on.
        """
        self._changes = ChangeRound(self._serving_channels, self._abort)
        self._stopping = self._announced = False
        self._failure: str | None = None
        gc.freeze()  # the collector writes to what it looks at, and would unshare it
        for number, listener in enumerate(open_listeners(self.host, self.port, self.count), 1):
            self.slots.append(WorkerSlot(number, listener))
        self.port = port_of(self.slots[0].listener)
        self._selector = selectors.DefaultSelector()
        self._catch_signals()
        try:
            while not self._stopping and self._failure is None:
                self._start_workers()
                self._start_next_change()
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
            for slot in self.slots:
                slot.interrupt()
        self._stopping = True

    def _start_workers(self) -> None:
        for slot in self.slots:
            if slot.state == "empty" and self._may_start(slot):
                self._fork(slot)

    def _may_start(self, slot: WorkerSlot) -> bool:
        """Return whether it is time: a worker that starts in a change would miss it."""
        return not self._changes.active and time.monotonic() >= slot.start_at

    def _fork(self, slot: WorkerSlot) -> None:
        ours, theirs = socket.socketpair()
        # A signal that reaches the child before it has given up the supervisor's handlers would
        # be lost in them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(slot, ours, theirs)
        except OSError as exc:
            ours.close()
            slot.start_at = time.monotonic() + MAX_PAUSE_S
            logger.error("a worker cannot be started", extra={"fields": {"reason": str(exc)}})
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        slot.begin(pid, Channel(ours), self.start_seconds)
        self._selector.register(ours, selectors.EVENT_READ, slot)

    def _become_worker(
        self, slot: WorkerSlot, ours: socket.socket, theirs: socket.socket
    ) -> NoReturn:
        """Turn this process, just forked, into a worker."""
        status = 1
        try:
            self._close_inherited(slot)
            ours.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            served = self._changes.served
            self.work(Assignment(slot.number, slot.listener, theirs, served))
            status = 0
        except StartError as error:
            Channel(theirs).send({"kind": "failed", "reason": str(error)})
        except SystemExit as end:  # uvicorn's, which has logged why
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            logger.exception("a worker failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _close_inherited(self, slot: WorkerSlot) -> None:
        """Close what is the supervisor's: signal handlers, channels, the other workers' sockets."""
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._wake.close()
        self._wake_writer.close()
        for other in self.slots:
            if other is not slot:
                other.listener.close()
            if other.channel is not None:
                other.channel.close()

    def _start_next_change(self) -> None:
        if all(slot.state != "starting" for slot in self.slots):
            self._changes.start_next()

    def _wait(self) -> None:
        """Handle the workers' messages, until a worker dies or a moment has passed."""
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._receive(key.data)
        for slot in self.slots:
            self._check_on(slot)

    def _seconds_to_wait(self) -> float:
        if self._stopping or self._changes.active:
            return TICK_S
        starts = [slot.start_at for slot in self.slots if slot.state == "empty"]
        return max(0.0, min([TICK_S, *(start - time.monotonic() for start in starts)]))

    def _receive(self, slot: WorkerSlot) -> None:
        if slot.channel is None:
            return
        for message in slot.channel.receive():
            if message["kind"] == "failed":
                slot.reason = message["reason"]
                continue
            self._changes.receive(slot.channel, message)
            if message["kind"] == "serving" and slot.state == "starting":
                seconds = slot.serve()
                self._announce(slot, seconds)

    def _announce(self, slot: WorkerSlot, seconds: float) -> None:
        fields: dict[str, Any] = {"pid": slot.pid, "seconds": round(seconds, 3)}
        logger.info("a worker serves", extra={"fields": fields})
        if not self._announced and all(slot.state == "serving" for slot in self.slots):
            self._announced = True
            url = url_of(self.host, slot.listener)
            fields = {"url": url, "workers": [slot.pid for slot in self.slots]}
            logger.info("serving", extra={"fields": fields})

    def _check_on(self, slot: WorkerSlot) -> None:
        """Reap a worker that died, and end one that hangs."""
        ended = slot.reap()
        if ended is not None:
            self._replace(slot, ended)
        elif slot.channel is not None and slot.channel.ended:
            self._disconnect(slot)
            slot.terminate(self.stop_seconds)  # no change of models could reach it any more
        elif slot.kill_if_due():
            logger.error("a worker hangs and is killed", extra={"fields": {"pid": slot.pid}})

    def _replace(self, slot: WorkerSlot, ended: int) -> None:
        """Note the end of a worker, and when the next one starts."""
        self._receive(slot)  # what it sent before it died
        self._disconnect(slot)
        forget_gauges(self.metrics, slot.number)
        pid, reason = slot.pid, slot.reason
        if self._stopping or self._failure is not None:
            slot.pid = 0
            return
        if not (slot.served or self._announced):
            self._failure, slot.pid = _failure(ended, reason), 0
            return
        if not slot.served:
            reason = reason or UNKNOWN_REASON
        pause_s = slot.reset(self.host)
        fields: dict[str, Any] = {"pid": pid, "status": ended, "next_in_seconds": pause_s}
        if reason:
            fields["reason"] = reason
        logger.error("a worker died", extra={"fields": fields})

    def _disconnect(self, slot: WorkerSlot) -> None:
        channel, slot.channel = slot.channel, None
        if channel is not None:
            self._selector.unregister(channel.socket)
            channel.close()
            self._changes.forget(channel)

    def _serving_channels(self) -> list[Channel]:
        return [slot.channel for slot in self.slots if slot.channel and slot.state == "serving"]

    def _abort(self, channel: Channel) -> None:
        for slot in self.slots:
            if slot.channel is channel:
                slot.kill()

    def _stop(self) -> None:
        """Let the workers finish what they have accepted, and kill what takes too long."""
        if self._announced:
            logger.info("stopping")
        self._stopping = True
        self._changes.close()
        for slot in self.slots:
            slot.listener.close()  # the workers' own copies stay open until they are drained
            slot.terminate(self.stop_seconds)
        while any(slot.pid for slot in self.slots):
            self._changes.start_next()
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
