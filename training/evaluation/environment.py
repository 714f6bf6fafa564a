"""Where and with what a run was made: part of every result's provenance."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

INTEGER_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return commit, versions and hardware as plain JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # a str subclass, which checkpoints refuse
            "numpy": np.__version__,
        },
        "device": str(device),
        "hardware": hardware_name(device),
        "threads": torch.get_num_threads(),
    }


def hardware_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's with the number of cores this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor_name()}, {cores} cores"


def vector_instructions() -> list[str]:
    """Return which of the instructions that integer kernels use the processor has.

    Empty where the system does not say, as anywhere but on Linux.
    """
    flags = (_cpuinfo("flags") or "").split()
    return [flag for flag in INTEGER_INSTRUCTIONS if flag in flags]


def _processor_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str | None:
    """Return what Linux says of the first processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return None


def source_commit() -> str | None:
    """Return the commit of the source tree, marked where files differ from it; None outside git."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            [  # noqa: S607 - the git on the PATH is the one that made the checkout
                "git",
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
