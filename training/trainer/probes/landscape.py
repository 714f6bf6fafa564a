"""How the loss looks around the weights, on one and the same batch.

With the gradient g at the weights w, and w' = w - a g for a = rate x (1/2, 1, 2, 4),

    loss                             of the probe batch at w, normalized as in training
    loss_along_gradient_min, _max    at the w'
    gradient_change                  largest |g(w') - g| / |g|: how much a step misleads the next
    gradient_cosine                  smallest cosine between g(w') and g
    effective_smoothness             largest |g(w') - g| / |a g|

and the same along the step that training really took, c x (w_after - w) for c of 1/2, 1, 2, 4,
with `_along_step`: RMSprop does not move along g. Raw gradients of networks with and without norms
have no common scale, so changes are relative.

Reference:
    Santurkar et al. 2018, arXiv:1805.11604, section 3 and figure 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from training.recipes import Recipe
from training.recipes.optimizers import (
    GroupedRecipe,
)
from training.trainer.methods.losses import training_loss
from training.trainer.probes.probe import PROBE_SEED, Bench, Probe, duplicate

FACTORS = (0.5, 1.0, 2.0, 4.0)

Found = Iterator[tuple[str, str, float]]


class LandscapeProbe(Probe):
    """Keeps the network of before a step and walks from it, along the gradient and that step."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.before: nn.Module | None = None

    def before_step(self, network: nn.Module) -> None:
        """Keep the weights that the step starts from."""
        self.before = duplicate(network)

    def after_due_step(self, network: nn.Module) -> Found:
        """Yield the measures; one that is not finite, as beside a divergence, is left out."""
        assert self.before is not None, "before_step comes first"
        for name, layer, value in self._walk(self.before, network):
            if math.isfinite(value):
                yield name, layer, value

    def _walk(self, before: nn.Module, after: nn.Module) -> Found:
        here = _trained(before)
        loss, gradient = self._look(before, here)
        yield "loss", "", loss
        rate = learning_rate(self.bench.recipe)
        along = [-rate * part for part in gradient]
        yield from self._along(before, gradient, along, "_along_gradient", "")
        step = [there.detach() - start for there, start in zip(_trained(after), here, strict=True)]
        yield from self._along(before, gradient, step, "_along_step", "_along_step")

    def _along(
        self,
        network: nn.Module,
        gradient: Sequence[torch.Tensor],
        direction: Sequence[torch.Tensor],
        loss_suffix: str,
        suffix: str,
    ) -> Found:
        here = _trained(network)
        losses, changes, cosines, smoothness = [], [], [], []
        length, size = _norm(direction), _norm(gradient)
        for factor in FACTORS:
            moved = [w + factor * d for w, d in zip(here, direction, strict=True)]
            loss, there = self._look(network, moved)
            change = _norm([t - g for t, g in zip(there, gradient, strict=True)])
            losses.append(loss)
            changes.append(_ratio(change, size))
            cosines.append(_ratio(_dot(there, gradient), _norm(there) * size))
            smoothness.append(_ratio(change, factor * length))
        yield f"loss{loss_suffix}_min", "", min(losses)
        yield f"loss{loss_suffix}_max", "", max(losses)
        yield f"gradient_change{suffix}", "", max(changes)
        yield f"gradient_cosine{suffix}", "", min(cosines)
        yield f"effective_smoothness{suffix}", "", max(smoothness)

    def _look(
        self, network: nn.Module, weights: Sequence[torch.Tensor]
    ) -> tuple[float, list[torch.Tensor]]:
        """Return loss and gradient of the probe batch at these weights, in training mode."""
        torch.manual_seed(PROBE_SEED)  # the same masks of dropout everywhere
        copied = duplicate(network).train()
        trained = _trained(copied)
        with torch.no_grad():
            for parameter, value in zip(trained, weights, strict=True):
                parameter.copy_(value)
        images, labels = self.bench.batch()
        loss = training_loss(copied(images), labels, self.bench.recipe)
        return loss.item(), list(torch.autograd.grad(loss, trained))


def learning_rate(recipe: Recipe) -> float:
    """Return the recipe's highest rate; of a grouped one that of the filters."""
    optimizer = recipe.optimizer
    if isinstance(optimizer, GroupedRecipe):
        return optimizer.filters.learning_rate
    return optimizer.learning_rate


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _dot(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> float:
    return sum(torch.sum(x.double() * y.double()).item() for x, y in zip(a, b, strict=True))


def _norm(parts: Sequence[torch.Tensor]) -> float:
    return math.sqrt(_dot(parts, parts))


def _ratio(numerator: float, denominator: float) -> float:
    """Return the quotient; not a number of a network that does not move."""
    return numerator / denominator if denominator else math.nan
