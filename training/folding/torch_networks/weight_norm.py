"""Weights that a layer keeps as direction and length, w = g v / |v|, in both of torch's ways.

Reference:
    Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm


def normalized_weight(module: nn.Module) -> torch.Tensor | None:
    """Return a layer's weight in float64 if it has weight norm and nothing else on it."""
    parts = _parametrized(module) or _hooked(module)
    if parts is None:
        return None
    length, direction, dim = parts
    with torch.no_grad():
        return torch._weight_norm(direction.cpu().double(), length.cpu().double(), dim)


def _parametrized(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Return g, v and the axis that is kept, of `torch.nn.utils.parametrizations.weight_norm`."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    steps = module.parametrizations.weight  # type: ignore[union-attr] # is_parametrized says so
    if len(steps) != 1 or not isinstance(steps[0], _WeightNorm):  # type: ignore[arg-type,index]
        return None
    return steps.original0, steps.original1, steps[0].dim  # type: ignore[union-attr,index,return-value]


def _hooked(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Return the same of `torch.nn.utils.weight_norm`."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == "weight":
            return module.weight_g, module.weight_v, hook.dim  # type: ignore[return-value]
    return None
