"""The supervisor's side of a change of models: every worker makes it, or none does.

    ask ─► prepare ─► every vote is yes ─► commit ─► every worker has made it ─► done
                  └─► one vote is no, or does not come ─► abandon ─► done

Preparing may fail, committing cannot. A worker that dies on the way has no vote; the one that
replaces it starts after the change, and with the models that the others serve.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from service.processes.channel import Channel

ANSWER_SECONDS = 60.0  # for a vote: a model is read, measured and proven meanwhile
STOPPING = "this process is about to stop and changes nothing any more; ask again when it is back"


@dataclass(eq=False)
class _Request:
    """What a worker asked for; `asked_by` is None when it died."""

    asked_by: Channel | None
    number: int
    action: str
    name: str


@dataclass(eq=False)
class _Round:
    request: _Request
    number: int
    taking_part: list[Channel]
    until: float
    pending: set[Channel] = field(default_factory=set)
    phase: Literal["prepare", "commit"] = "prepare"
    error: str | None = None
    reason: str | None = None


class ChangeRound:
    """Runs one change after the other.

    Args:
        workers: gives the channels of the workers that answer.
        abort: ends a worker that does not confirm a change which the others have made.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        workers: Callable[[], list[Channel]],
        abort: Callable[[Channel], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._abort = abort
        self._clock = clock
        self._waiting: deque[_Request] = deque()
        self._round: _Round | None = None
        self._number = 0
        self._closed = False
        self.served: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether a change is under way."""
        return self._round is not None

    def receive(self, channel: Channel, message: dict[str, Any]) -> None:
        """Take a worker's request, vote or confirmation, or what it serves."""
        if "models" in message:
            self.served = frozenset(message["models"])
        if message["kind"] == "change":
            request = _Request(channel, message["number"], message["action"], message["name"])
            self._accept(request)
        elif message["kind"] in ("prepared", "committed"):
            self._count(channel, message)

    def forget(self, channel: Channel) -> None:
        """Forget a worker that died."""
        self._waiting = deque(one for one in self._waiting if one.asked_by is not channel)
        change = self._round
        if change is None:
            return
        if change.request.asked_by is channel:
            change.request.asked_by = None
        if channel in change.taking_part:
            change.taking_part.remove(channel)
            change.pending.discard(channel)
            self._advance(change)

    def start_next(self) -> None:
        """End the wait for what does not come; then begin the next change if none is under way."""
        if self._round is not None and self._clock() >= self._round.until:
            self._end_wait(self._round)
        if self._round is None and self._waiting and (workers := self._workers()):
            self._number += 1
            until = self._clock() + ANSWER_SECONDS
            self._round = _Round(self._waiting.popleft(), self._number, workers, until)
            request = self._round.request
            self._order(self._round, "prepare", action=request.action, name=request.name)

    def close(self) -> None:
        """Refuse what waits and what still comes; the change under way goes on."""
        self._closed = True
        while self._waiting:
            _answer(self._waiting.popleft(), "DrainingError", STOPPING)

    def _accept(self, request: _Request) -> None:
        if self._closed:
            _answer(request, "DrainingError", STOPPING)
        else:
            self._waiting.append(request)

    def _count(self, channel: Channel, message: dict[str, Any]) -> None:
        change = self._round
        if change is None or message["number"] != change.number or channel not in change.pending:
            return  # a vote that came too late
        if message.get("error") is not None:
            change.error, change.reason = message["error"], message["reason"]
        change.pending.discard(channel)
        self._advance(change)

    def _advance(self, change: _Round) -> None:
        if change.pending:
            return
        if change.phase == "commit":
            self._finish(change)
        elif not change.taking_part:
            self._refuse(change, "every worker died while it prepared the change; ask again")
        elif change.error is not None:
            self._abandon(change)
        else:
            change.phase = "commit"
            self._order(change, "commit")

    def _end_wait(self, change: _Round) -> None:
        if change.phase == "prepare":
            self._refuse(
                change,
                f"{len(change.pending)} of {len(change.taking_part)} workers did not prepare the "
                f"change within {ANSWER_SECONDS:.0f} s, so none made it; ask again when the "
                "machine has time",
            )
            return
        late = list(change.pending)
        self._finish(change)
        for channel in late:
            self._abort(channel)

    def _refuse(self, change: _Round, reason: str) -> None:
        change.error, change.reason = "ModelRefusedError", reason
        self._abandon(change)

    def _abandon(self, change: _Round) -> None:
        self._order(change, "abandon")
        self._finish(change)

    def _order(self, change: _Round, kind: str, **more: str) -> None:
        change.until = self._clock() + ANSWER_SECONDS
        change.pending = set(change.taking_part)
        for channel in change.taking_part:
            channel.send({"kind": kind, "number": change.number, **more})

    def _finish(self, change: _Round) -> None:
        self._round = None
        _answer(change.request, change.error, change.reason)


def _answer(request: _Request, error: str | None, reason: str | None) -> None:
    if request.asked_by is not None:
        request.asked_by.send(
            {"kind": "done", "number": request.number, "error": error, "reason": reason}
        )
