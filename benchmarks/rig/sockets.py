"""Which process holds which connection, from /proc (proc(5), /proc/net/tcp)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE = Path("/proc/net/tcp")
ESTABLISHED = "01"
LISTEN = "0A"


def connections(port: int) -> dict[str, int]:
    """Return the peer's port of each established connection to a port, by socket inode."""
    found = {}
    for line in TABLE.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
        if int(local.rpartition(":")[2], 16) == port and state == ESTABLISHED:
            found[inode] = int(remote.rpartition(":")[2], 16)
    return found


def waiting_to_be_accepted(port: int) -> int:
    """Return the connections that the kernel has made and the server has not taken yet."""
    waiting = 0
    for line in TABLE.read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, state, queues = line.split()[:5]
        if int(local.rpartition(":")[2], 16) == port and state == LISTEN:
            waiting += int(queues.rpartition(":")[2], 16)
    return waiting


def connections_by_process(port: int, pids: Iterable[int]) -> dict[int, set[int]]:
    """Return the peers' ports of the connections that each process has accepted."""
    known = connections(port)
    return {pid: {known[inode] for inode in _inodes(pid) if inode in known} for pid in pids}


def _inodes(pid: int) -> set[str]:
    """Return the inodes of a process's sockets; none when it has ended."""
    inodes = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            name = str(entry.readlink())
            if name.startswith("socket:["):
                inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    except OSError:
        return set()
    return inodes
