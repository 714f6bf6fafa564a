"""A change of models, made by new processes: place by place a new worker takes over from the old.

    ask ─► new worker loads ─► it serves, the old one retires ─► the next place ─► … ─► done
                           └─► it fails: those that took over are replaced back ─► done, with why

The first new worker makes the change; the others serve what it serves. The worker that was asked
goes last, for it has to answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.line import Line
    from service.worker_place import WorkerPlace

Action = Literal["load", "unload"]
STOPPING = "this process is about to stop and changes nothing any more; ask again when it is back"


@dataclass(frozen=True)
class Order:
    """What a new worker shall serve: what is served, after a change if there is one."""

    served: frozenset[str]
    change: tuple[Action, str] | None = None


@dataclass(eq=False)
class _Request:
    """What a worker asked for; `asked_by` is None when it died."""

    asked_by: Line | None
    number: int
    change: tuple[Action, str]


@dataclass(eq=False)
class _Change:
    request: _Request
    before: frozenset[str]
    order: Order
    waiting: deque[WorkerPlace]
    replaced: list[WorkerPlace] = field(default_factory=list)
    error: str | None = None
    reason: str | None = None


class Rollout:
    """Runs one change after the other.

    Args:
        start: starts the worker that is to follow on another.
        take_over: puts a worker that serves into the place of the one before it.
        give_up: ends a worker that serves what it should not.
    """

    def __init__(
        self,
        start: Callable[[WorkerPlace, Order], WorkerPlace],
        take_over: Callable[[WorkerPlace, WorkerPlace], None],
        give_up: Callable[[WorkerPlace], None],
    ) -> None:
        self._start = start
        self._take_over = take_over
        self._give_up = give_up
        self._requests: deque[_Request] = deque()
        self._change: _Change | None = None
        self._closed = False
        self.successor: WorkerPlace | None = None
        self.served: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether a change is under way."""
        return self._change is not None

    def ask(self, line: Line, message: dict[str, Any]) -> None:
        """Take a worker's request."""
        request = _Request(line, message["number"], (message["action"], message["name"]))
        if self._closed:
            _answer(request, "DrainingError", STOPPING)
        else:
            self._requests.append(request)

    def lose(self, line: Line) -> None:
        """Forget a worker that died."""
        self._requests = deque(one for one in self._requests if one.asked_by is not line)
        if self._change is not None and self._change.request.asked_by is line:
            self._change.request.asked_by = None

    def go_on(self, places: Sequence[WorkerPlace]) -> None:
        """Begin the next change if none is under way; then start the next worker."""
        if self._change is None and self._requests:
            request = self._requests.popleft()
            asked_last = sorted(places, key=lambda place: place.line is request.asked_by)
            order = Order(self.served, request.change)
            self._change = _Change(request, self.served, order, deque(asked_last))
        change = self._change
        if change is None or self.successor is not None or self._closed:
            return
        if change.waiting:
            self.successor = self._start(change.waiting[0], change.order)
            if not self.successor.pid:
                self.fail(
                    None, "no new process can be started; ask again when the machine has room"
                )
        else:
            self._finish(change)

    def serve(self, models: Sequence[str]) -> None:
        """Let the worker that was started take over; the others will serve what it serves."""
        assert self._change is not None
        assert self.successor is not None
        self._take_over(self._change.waiting.popleft(), self.successor)
        self._change.replaced.append(self.successor)
        self._change.order = Order(frozenset(models))
        self.successor = None

    def fail(self, error: str | None, reason: str) -> None:
        """Go back: the worker that was started died before it served."""
        change, self.successor = self._change, None
        assert change is not None
        if change.error is not None:  # it was on the way back
            self._give_up(change.waiting.popleft())
            return
        change.error, change.reason = error or "ModelRefusedError", reason
        change.order = Order(change.before)
        change.waiting, change.replaced = deque(change.replaced), []

    def close(self) -> None:
        """Refuse what is under way, what waits and what still comes."""
        self._closed = True
        if self._change is not None:
            self._requests.append(self._change.request)
        while self._requests:
            _answer(self._requests.popleft(), "DrainingError", STOPPING)

    def _finish(self, change: _Change) -> None:
        self._change = None
        self.served = change.order.served
        _answer(change.request, change.error, change.reason)


def _answer(request: _Request, error: str | None, reason: str | None) -> None:
    if request.asked_by is not None:
        request.asked_by.send(
            {"kind": "done", "number": request.number, "error": error, "reason": reason}
        )
