"""Which device trains, in which precision, and how the CPU's memory is kept for it."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Collection
from typing import Any, get_args

import torch

from training.client.load.machine import processor_flags
from training.errors import TrainingError
from training.recipes.recipe import Precision, Recipe

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
TOP_PAD_BYTES = 256 << 20
# Without one of these, a CPU widens every number to float32 and loses time.
BFLOAT16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
HALF_SINCE_CAPABILITY = (8, 0)  # CUDA: Ampere, the first with bfloat16 tensor cores

Forward = Callable[[torch.Tensor], torch.Tensor]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one.

    Raises:
        TrainingError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the meta device fails only when it is read
    except (RuntimeError, AssertionError) as exc:
        reason = str(exc).splitlines()[0].partition(". ")[0]
        raise TrainingError(f"device {name!r} cannot be used ({reason}); try --device cpu") from exc
    return device


def choose_precision(
    name: str | None,
    recipe: Recipe,
    device: torch.device,
    flags: Collection[str] | None = None,
) -> torch.dtype:
    """Return the format by that name, or by the recipe where it is None.

    `auto` is bfloat16 where the device computes in it, and float32 elsewhere. `flags` are the
    processor's instruction sets, this one's by default.

    Raises:
        TrainingError: there is no such format.
    """
    name = name or recipe.precision
    if name not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise TrainingError(f"--precision {name!r} is not known; take one of {known}")
    if name == "auto":
        flags = processor_flags() if flags is None else flags
        name = "bfloat16" if has_fast_bfloat16(device, flags) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def has_fast_bfloat16(device: torch.device, flags: Collection[str] = ()) -> bool:
    """Return whether the device has instructions that multiply in bfloat16.

    `flags` are the processor's instruction sets.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= HALF_SINCE_CAPABILITY
    return device.type == "cpu" and not BFLOAT16_INSTRUCTIONS.isdisjoint(flags)


def precision_warning(
    precision: str, device: torch.device, flags: Collection[str] | None = None
) -> str | None:
    """Return what to know before a run whose format the device only emulates; None of others.

    `flags` are the processor's instruction sets, this one's by default.
    """
    flags = processor_flags() if flags is None else flags
    if precision != "bfloat16" or has_fast_bfloat16(device, flags):
        return None
    return (
        f"warning: {device} has no instructions for bfloat16, and trains about ten times slower "
        "in it than in float32; choose --precision float32"
    )


def compile_step(network: torch.nn.Module) -> Forward:
    """Return the network with kernels generated for the shapes that it meets.

    Fused, a value that one kernel rounds to bfloat16 would not be rounded in another. The gradient
    of a maximum looks for the values equal to it, finds none and divides by their number, zero.
    """
    options: dict[str, Any] = {"emulate_precision_casts": True}
    compiled: Forward = torch.compile(network, dynamic=False, options=options)
    return compiled


def check_compiler(device: torch.device) -> None:
    """Try on a small function whether kernels can be generated for a device.

    Raises:
        TrainingError: they cannot, most often for want of a compiler.
    """
    try:
        torch.compile(lambda x: 2 * x + 1)(torch.ones(8, device=device))
    except Exception as exc:  # torch, the compiler and the disk each have errors of their own
        reason = str(exc).strip().partition("\n")[0]
        needed = "triton and a C compiler" if device.type == "cuda" else "a C++ compiler, as g++"
        raise TrainingError(
            f"--compile cannot make kernels for {device} here ({reason}); install {needed}, or "
            "leave --compile out"
        ) from exc


def keep_freed_memory() -> bool:
    """Tell the allocator of this process to give nothing back; return whether it understood."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, TOP_PAD_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
