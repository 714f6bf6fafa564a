"""Keep freed memory for the next step, on Linux with glibc.

A step allocates the same large activations as the one before. By default glibc returns blocks of
that size to the system at once, and the system clears every page of them again at the next step.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import get_args

import torch

from training.errors import TrainingError
from training.recipes.recipe import Precision, Recipe

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
TOP_PAD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to give nothing back; return whether it understood."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)


# Without one of these, a CPU widens every number to float32 and loses time.
BFLOAT16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
HALF_SINCE_CAPABILITY = (8, 0)  # CUDA: Ampere, the first with bfloat16 tensor cores


def choose_precision(name: str | None, recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return the format by that name, or by the recipe where it is None.

    `auto` is bfloat16 where the device computes in it, and float32 elsewhere.

    Raises:
        TrainingError: there is no such format.
    """
    name = name or recipe.precision
    if name not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise TrainingError(f"--precision {name!r} is not known; take one of {known}")
    if name == "auto":
        name = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions that multiply in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= HALF_SINCE_CAPABILITY
    cpuinfo = Path("/proc/cpuinfo")
    if device.type != "cpu" or not cpuinfo.is_file():
        return False
    flags = next(
        (line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), ""
    )
    return bool(BFLOAT16_INSTRUCTIONS & set(flags.split()))
