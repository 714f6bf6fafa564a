"""The machine that a load was made on, without torch: the client does not need it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe_generator() -> dict[str, object]:
    """Return the time, the processor and the versions as plain JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor_name(),
        "cpus": usable_cpus(),
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "foldnorm": version("foldnorm"),
            "aiohttp": version("aiohttp"),
        },
    }


def processor_name() -> str:
    """Return the processor's name as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def usable_cpus() -> int | None:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that Linux names, `avx2` for one; nothing on other systems."""
    return frozenset((_cpuinfo("flags") or "").split())


def _cpuinfo(key: str) -> str | None:
    """Return what Linux says of the first processor; None elsewhere."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return None
