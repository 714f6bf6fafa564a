"""In which number format a device multiplies.

Weights, statistics of the batch norms and losses stay float32; `bfloat16` is for the products and
the activations between them, by torch's autocast. It has the range of float32, so that no loss
has to be scaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from training.errors import TrainingError
from training.recipe import Precision

if TYPE_CHECKING:
    from training.recipe import Recipe

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
