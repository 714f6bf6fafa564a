"""Which of onnxruntime's execution providers runs the models.

The package lists CUDA wherever it was built with it, and trying it without a driver prints a
stack of library errors before it falls back. So what it needs is looked for first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnxruntime

from service.errors import ModelRefusedError
from service.settings import Cuda

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
DRIVER_LIBRARY = "libcuda.so.1"


@dataclass(frozen=True)
class Provider:
    """The provider to run on, and why it is this one."""

    name: Literal["CPUExecutionProvider", "CUDAExecutionProvider"]
    reason: str


def choose_provider(cuda: Cuda, find_obstacle: Callable[[], str | None] | None = None) -> Provider:
    """Return CUDA where it can be loaded, the CPU elsewhere.

    Raises:
        ModelRefusedError: CUDA is demanded and cannot be loaded.
    """
    if cuda == "off":
        return Provider(CPU, "CUDA is switched off")
    obstacle = (find_obstacle or cuda_obstacle)()
    if obstacle is None:
        return Provider(CUDA, "CUDA can be loaded")
    if cuda == "on":
        raise ModelRefusedError(
            f"FOLDNORM_CUDA=on, but {obstacle}; install it, or set FOLDNORM_CUDA=auto"
        )
    return Provider(CPU, obstacle)


def cuda_obstacle() -> str | None:
    """Return what keeps CUDA from running here, None where nothing does."""
    if CUDA not in onnxruntime.get_available_providers():
        return "the installed onnxruntime was built without CUDA"
    obstacle = _driver_obstacle()
    if obstacle is None and hasattr(onnxruntime, "preload_dlls") and _has_nvidia_wheels():
        onnxruntime.preload_dlls()
    return obstacle or _provider_library_obstacle()


def _driver_obstacle() -> str | None:
    """Ask the driver itself how many devices it has."""
    try:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return f"the NVIDIA driver library {DRIVER_LIBRARY} is not installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "the NVIDIA driver does not answer"
    return None if count.value else "the NVIDIA driver finds no device"


def _has_nvidia_wheels() -> bool:
    return (Path(onnxruntime.__file__).parent.parent / "nvidia").is_dir()


def _provider_library_obstacle() -> str | None:
    """Load the provider as onnxruntime would; a missing CUDA or cuDNN library shows here."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as exc:
        return f"onnxruntime's CUDA provider cannot be loaded ({exc})"
    return None
