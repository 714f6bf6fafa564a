"""Where and with what a run was made: part of every result's provenance."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Collection
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from training.client.load.machine import processor_name, usable_cpus

if TYPE_CHECKING:  # what packs an ONNX file has no torch
    import torch

INTEGER_INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return commit, versions and hardware as plain JSON values."""
    import torch

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


def describe_onnx_environment() -> dict[str, Any]:
    """Return commit, versions and hardware, as plain JSON values, where torch has no part."""
    packages = ("onnx", "onnx-ir", "numpy", "pillow")
    versions = {name: metadata.version(name) for name in packages}
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
        "versions": {
            "python": platform.python_version(),
            **versions,
            "onnxruntime": onnxruntime.__version__,  # of either of its two packages
        },
        "device": "cpu",
        "hardware": _processor(),
        "threads": 1,
    }


def hardware_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's with the number of cores this process may use."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor()


def _processor() -> str:
    return f"{processor_name()}, {usable_cpus()} cores"


def vector_instructions(flags: Collection[str]) -> list[str]:
    """Return which of a processor's instructions integer kernels use."""
    return [flag for flag in INTEGER_INSTRUCTIONS if flag in flags]


def source_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the source tree, marked where files differ from it; None outside git."""
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
