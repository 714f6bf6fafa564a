"""A socket that listens, and is closed without losing a connection.

    refuse_newcomers ─► take what has come ─► close

A socket that is closed resets the connections that wait in its backlog. One that drops what knocks
(SYN) first has none left when it is closed: whoever was dropped knocks again a second later, and
finds another socket or none.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

BACKLOG = 2048
ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux
# Classic BPF over the TCP header: of its flags (byte 13), SYN without ACK is dropped.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte
    (0x54, 0, 0, 0x12),  # and with SYN | ACK
    (0x15, 0, 1, 0x02),  # if it is SYN: the next one, else the one after it
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take it whole
)


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        OSError: the address is taken, not this machine's or not permitted; the message names it.
    """
    listener = _bind(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise _explain(host, port, exc) from exc
    return listener


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    port: int = listener.getsockname()[1]
    return port


def url_of(host: str, listener: socket.socket) -> str:
    """Return where a browser finds the socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port_of(listener)}"


def refuse_newcomers(listener: socket.socket) -> None:
    """Have the kernel drop whoever knocks from now on; does nothing where it is not Linux."""
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *step) for step in DROP_SYN)
    program = ctypes.create_string_buffer(code)
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET,
            ATTACH_FILTER,
            struct.pack("@HP", len(DROP_SYN), ctypes.addressof(program)),
        )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:  # `::` is every address, IPv4 ones too
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if sys.platform != "win32":  # there it would let two processes have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise _explain(host, port, exc) from exc
    return listener


def _explain(host: str, port: int, exc: OSError) -> OSError:
    return OSError(
        f"cannot listen on {host} port {port}: {exc.strerror or exc}; stop what listens there, or "
        "choose another address (--host, --port)"
    )
