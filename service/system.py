"""How many CPUs this process may use.

The host's count is wrong in a container: affinity and the control group's quota say what is ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_CGROUPS = Path("/proc/self/cgroup")


def available_cpus(root: Path = CGROUP_ROOT, process_cgroups: Path = PROCESS_CGROUPS) -> int:
    """Return the CPUs of the affinity mask, or fewer where a quota allows less; at least 1."""
    usable = min(_affinity(), cgroup_quota(root, process_cgroups))
    return max(1, math.ceil(usable))


def cgroup_quota(root: Path, process_cgroups: Path) -> float:
    """Return the tightest quota in CPUs among this process's group and its parents.

    Infinite where no group sets one, and where there are no control groups.
    """
    quotas = [math.inf]
    for line in _read(process_cgroups).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += [_quota_v2(folder) for folder in _lineage(root, path)]
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / controllers):
                quotas += [_quota_v1(folder) for folder in _lineage(mount, path)]
    return min(quotas)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _lineage(mount: Path, path: str) -> list[Path]:
    """Return the group's folder and those above it, up to the mount.

    Inside a container the path may be the host's while the mount already is the group's own
    folder; folders that do not exist set no quota.
    """
    folder = mount / path.lstrip("/")
    above = [parent for parent in folder.parents if parent.is_relative_to(mount)]
    return [folder, *above]


def _quota_v2(folder: Path) -> float:
    words = _read(folder / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return math.inf
    return int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float:
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    period = _read(folder / "cpu.cfs_period_us").strip()
    if not quota or not period or int(quota) < 0:
        return math.inf
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


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
