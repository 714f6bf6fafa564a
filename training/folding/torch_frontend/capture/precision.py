"""Everything in float64, whatever a network's code asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

NARROW = (torch.float16, torch.bfloat16, torch.float32)


class InFloat64(TorchDispatchMode):
    """While it is entered, casts to narrower floats are none, and new tensors are in float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Compute one operator."""
        args, kwargs = pytree.tree_map(_widened, (args, kwargs or {}))
        return pytree.tree_map(_widened, func(*args, **kwargs))


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in NARROW:
        return value.double()
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value
