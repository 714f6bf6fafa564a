"""A running average of a network's weights and of its batch norms' statistics.

    every k steps      a <- d a + (1 - d) w          d the decay over k steps
    lookahead          w <- a, and d grows weaker over the run, so that w is freed for learning
                       first and bound to the average at the end:  d = decay^k (t / T)^3
    ema                w untouched; at the end of the run w <- a. The n-th time, from 0, d is at
                       most (1 + n) / (10 + n), or a short run would end where it began

The statistics are averaged with the weights: those of w fit w, not a.

Reference:
    Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", 2019; the cubic schedule is
    that of github.com/KellerJordan/cifar10-airbench (MIT). The bound on the moving average's decay
    is that of TensorFlow's `ExponentialMovingAverage`, its `num_updates`.
"""

from __future__ import annotations

import torch
from torch import nn

from training.recipes.recipe import AveragingRecipe


class WeightAverage:
    """The average of one network, kept where the network is."""

    def __init__(self, network: nn.Module, recipe: AveragingRecipe) -> None:
        self.recipe = recipe
        self.live = _float_tensors(network)
        self.begin()

    def begin(self) -> None:
        """Start from the weights as they are."""
        self.average = {name: tensor.clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Take note of the step with that index, counted from 0 over the run of `steps`."""
        if (step + 1) % self.recipe.every:
            return
        decay: float = self.recipe.decay**self.recipe.every
        if self.recipe.kind == "lookahead":
            decay *= ((step + 1) / steps) ** 3
        else:
            averages = step // self.recipe.every
            decay = min(decay, (1 + averages) / (10 + averages))
        for name, tensor in self.live.items():
            self.average[name].lerp_(tensor, 1 - decay)
            if self.recipe.kind == "lookahead":
                tensor.copy_(self.average[name])

    @torch.no_grad()
    def take_over(self) -> None:
        """Give the network the average's weights and statistics."""
        for name, tensor in self.live.items():
            tensor.copy_(self.average[name])

    @torch.no_grad()
    def restore(self, average: dict[str, torch.Tensor]) -> None:
        """Take up an average that was saved."""
        for name, tensor in average.items():
            self.average[name].copy_(tensor)


def _float_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return what is trained or measured; frozen parameters and counters never change."""
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name not in frozen
    }
