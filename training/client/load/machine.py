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
    """Return the processor's name as the system states it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def usable_cpus() -> int | None:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that Linux names, `avx2` for one; nothing on other systems."""
    return frozenset((_cpuinfo("flags") or "").split())


def free_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory this process may still take; None where the system does not say.

    That is what Linux has available, or less where the control group allows less.
    """
    available = _numbers(root / "proc/meminfo").get("MemAvailable:")
    if available is None:
        return None
    group = root / "sys/fs/cgroup"
    most, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    if most is None or used is None:
        return available * 1024
    cached = _numbers(group / "memory.stat").get("inactive_file", 0)  # given back when asked for
    return min(available * 1024, max(0, most - used + cached))


def _numbers(file: Path) -> dict[str, int]:
    """Return the number that each line of a file gives for its first word."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _cpuinfo(key: str) -> str | None:
    """Return what Linux says of the first processor; None elsewhere."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return None
