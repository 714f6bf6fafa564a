"""Keep freed memory for the next step, on Linux with glibc.

A step allocates the same large activations as the one before. By default glibc returns blocks of
that size to the system at once, and the system clears every page of them again at the next step.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
TOP_PAD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to give nothing back; return whether it understood."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
