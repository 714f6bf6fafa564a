"""JSON messages, one a line, over a socket that is read and written without waiting."""

from __future__ import annotations

import json
import socket
from typing import Any

READ_BYTES = 65536


class Channel:
    """The supervisor's end of the connection to one worker."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.ended = False
        self._unfinished = b""

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; the channel ends if the worker died or no longer reads."""
        if self.ended:
            return
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # BlockingIOError too: the buffer is full of unread messages
            self.ended = True

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come."""
        data = self._unfinished
        try:
            while chunk := self.socket.recv(READ_BYTES):
                data += chunk
            self.ended = True
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        *lines, self._unfinished = data.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close the connection."""
        self.ended = True
        self.socket.close()
