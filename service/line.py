"""JSON messages, one a line, over a socket that is read without waiting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

CHUNK = 65536


class Line:
    """The supervisor's end of the connection to one worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.ended = False
        self._unfinished = b""

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; a worker that died hears nothing."""
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.ended = True

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come; called when there is something to read."""
        try:
            chunk = self.socket.recv(CHUNK)
        except OSError:
            chunk = b""
        if not chunk:
            self.ended = True
        *lines, self._unfinished = (self._unfinished + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
