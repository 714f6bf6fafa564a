"""The reference's loss and optimizer in torch terms.

    Keras 2.2 RMSprop      a <- rho a + (1 - rho) g^2
                           p <- p - lr_t g / (sqrt(a) + epsilon),   lr_t = lr / (1 + decay t)

torch adds epsilon outside the root as well, but defaults to another rho (alpha .99) and epsilon
(1e-8). Today's Keras 3 puts epsilon *inside* the root, so it is no reference for this.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.recipe import OptimizerRecipe


def build_optimizer(
    parameters: Iterable[torch.nn.Parameter], recipe: OptimizerRecipe
) -> torch.optim.RMSprop:
    """Return the optimizer; its learning rate is set per step from `learning_rate_at`."""
    return torch.optim.RMSprop(
        parameters,
        lr=recipe.learning_rate,
        alpha=recipe.rho,
        eps=recipe.epsilon,
        foreach=True,
    )


def learning_rate_at(step: int, recipe: OptimizerRecipe) -> float:
    """Return the learning rate of the step with that index, counted from 0 over the whole run."""
    return recipe.learning_rate / (1 + recipe.decay * step)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, probability_clip: float
) -> torch.Tensor:
    """Return the mean cross-entropy, () float32, of softmax clipped to [clip, 1 - clip].

    As in Keras, a sample whose true class is given less than `probability_clip` has a constant
    loss and so no gradient. Clipping the logarithm is the same function, and more precise.
    """
    log_probability = functional.log_softmax(logits, dim=1)
    if probability_clip:
        log_probability = log_probability.clamp(
            math.log(probability_clip), math.log1p(-probability_clip)
        )
    return functional.nll_loss(log_probability, labels)
