"""Muon for convolutions: momentum whose update is replaced by the nearest orthogonal matrix.

    b <- m b + g                                 momentum
    u  = g + m b                                 Nesterov
    u  = NS(u)                                   all singular values of u moved near 1
    w <- w sqrt(C_out) / |w|                     the norm is kept, so the rate alone sets the angle
    w <- w - lr u

A filter bank (C_out, C_in, H, W) is taken as a matrix (C_out, C_in H W). `torch.optim.Muon` refuses
anything but matrices, and does not keep the norm.

Reference:
    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024;
    the variant with the fixed norm is airbench94_muon in github.com/KellerJordan/cifar10-airbench
    (MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# A quintic that takes every number in (0, 1] near 1 within a few rounds, not one that converges.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Move 4-D filters by orthogonalized momentum; every norm is kept at sqrt(C_out)."""

    def __init__(
        self,
        filters: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        momentum: float,
        steps: int,
    ) -> None:
        super().__init__(list(filters), {"lr": lr, "momentum": momentum, "steps": steps})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 4:
                    raise ValueError(
                        f"Muon moves filters (C_out, C_in, H, W); {tuple(parameter.shape)} is none"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step along the gradients that are there."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.mul_(group["momentum"]).add_(gradient)
        direction = gradient.add(buffer, alpha=group["momentum"])  # (C_out, C_in, H, W)
        update = orthogonalize(direction.reshape(len(direction), -1), group["steps"])
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
        parameter.add_(update.view_as(parameter), alpha=-group["lr"])


def orthogonalize(matrix: torch.Tensor, steps: int) -> torch.Tensor:
    """Return (R, C) with the singular vectors of `matrix` and singular values around 1.

    Newton-Schulz iteration of an odd quintic p(x) = a x + b x^3 + c x^5 on the singular values. On
    a GPU it runs in bfloat16, which is precise enough for a direction.
    """
    a, b, c = COEFFICIENTS
    work: torch.Tensor = matrix.bfloat16() if matrix.is_cuda else matrix
    work = work / (work.norm() + EPSILON)
    if matrix.shape[0] > matrix.shape[1]:
        work = work.mT
    for _ in range(steps):
        gram = work @ work.mT  # (R, R), R the smaller side
        work = a * work + (b * gram + c * gram @ gram) @ work
    if matrix.shape[0] > matrix.shape[1]:
        work = work.mT
    return work.to(matrix.dtype)
