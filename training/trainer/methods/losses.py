"""Losses, as the recipes name them.

logits are (N, classes) float32, labels (N,) int64.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from training.recipes.recipe import Recipe


def training_loss(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Return the loss that a recipe minimizes, () float32."""
    if recipe.label_smoothing:
        return functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    return cross_entropy(logits, labels, recipe.probability_clip)


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
