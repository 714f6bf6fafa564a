"""How much memory this process holds, and how it lets go of what it no longer needs."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Return the resident set in bytes; 0 where the system has no /proc."""
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def release_free_memory() -> None:
    """Return the allocator's free memory to the system, where the C library is glibc.

    Loading a graph needs several times its size for a moment, and glibc would keep it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
