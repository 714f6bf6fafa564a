"""The supervisor's side of a change of models: every worker makes it, or none does.

Two phases: all prepare, which may fail; then all commit, which cannot. A worker that dies on the
way has no vote; the one that replaces it starts after the change and from what is on disk.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.line import Line


class ChangeRound:
    """Runs one change after the other.

    Args:
        workers: gives the lines of the workers that live.
    """

    def __init__(self, workers: Callable[[], list[Line]]) -> None:
        self._workers = workers
        self._waiting: deque[tuple[Line, dict[str, Any]]] = deque()
        self._asked_by: Line | None = None
        self._change: dict[str, Any] | None = None
        self._silent: set[Line] = set()
        self._error: str | None = None
        self._reason: str | None = None
        self._number = 0
        self._committing = False
        self.unloaded: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether a change is under way."""
        return self._change is not None

    def hear(self, line: Line, message: dict[str, Any]) -> None:
        """Take a worker's request, vote or confirmation."""
        if message["kind"] == "change":
            self._waiting.append((line, message))
        elif self._change is not None and message["number"] == self._number:
            if message["kind"] == "prepared" and message["error"] is not None:
                self._error, self._reason = message["error"], message["reason"]
            self._silent.discard(line)
            self._advance()

    def lose(self, line: Line) -> None:
        """Forget a worker that died."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not line)
        if self._asked_by is line:
            self._asked_by = None
        if line in self._silent:
            self._silent.discard(line)
            self._advance()

    def go_on(self, *, everyone_serves: bool) -> None:
        """Begin the next change if none is under way and no worker is still starting."""
        if self._change is not None or not self._waiting or not everyone_serves:
            return
        self._asked_by, self._change = self._waiting.popleft()
        self._number += 1
        self._error = self._reason = None
        self._committing = False
        self._order("prepare", action=self._change["action"], name=self._change["name"])

    def _advance(self) -> None:
        if self._silent or self._change is None:
            return
        if self._committing:
            self._finish(self._change)
        elif self._error is not None:
            self._order("abandon")
            self._finish(self._change)
        else:
            self._committing = True
            self._order("commit")

    def _order(self, kind: str, **more: str) -> None:
        lines = self._workers()
        self._silent = set(lines)
        for line in lines:
            line.send({"kind": kind, "number": self._number, **more})

    def _finish(self, change: dict[str, Any]) -> None:
        if self._error is None:
            remember = self.unloaded.add if change["action"] == "unload" else self.unloaded.discard
            remember(change["name"])
        if self._asked_by is not None:
            self._asked_by.send(
                {
                    "kind": "done",
                    "number": change["number"],
                    "error": self._error,
                    "reason": self._reason,
                }
            )
        self._change = self._asked_by = None
