"""Optimizers and learning rates, as the recipes name them.

    Keras 2.2 RMSprop      a <- rho a + (1 - rho) g^2
                           p <- p - lr_t g / (sqrt(a) + epsilon),   lr_t = lr / (1 + decay t)

torch adds epsilon outside the root as well, but defaults to another rho (alpha .99) and epsilon
(1e-8). Today's Keras 3 puts epsilon *inside* the root, so it is no reference for this.

Adam (with AdamW's weight decay) and plain SGD are torch's. All three have one rate, which decays as
Keras' does and follows the recipe's schedule, if it has one. On CUDA RMSprop and Adam read it from
the device, so that a step that was captured as a CUDA graph follows it.

A grouped recipe moves the filters by Muon or SGD and the rest by SGD, each group at its own rate
times one triangular schedule of the share of the run that is over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from training.recipes.optimizers import (
    AdamRecipe,
    GroupedRecipe,
    GroupRecipe,
    OneRateRecipe,
    PlainSgdRecipe,
    RmspropRecipe,
    ScheduleRecipe,
)
from training.trainer.methods.muon import Muon


class OptimizerSet:
    """The torch optimizers that together move a network, and their learning rates over the run."""

    def __init__(self, network: nn.Module, recipe: OneRateRecipe | GroupedRecipe) -> None:
        self.recipe = recipe
        if isinstance(recipe, GroupedRecipe):
            self.members = grouped_optimizers(network, recipe)
        else:
            self.members = [one_rate_optimizer(network.parameters(), recipe)]
        groups = [group for member in self.members for group in member.param_groups]
        self.capturable = all(group.get("capturable") for group in groups)
        # () float32 on the device, one for each group of optimizers that can be captured
        self.rates = [
            torch.zeros((), device=group["params"][0].device) if self.capturable else None
            for group in groups
        ]

    def set_learning_rates(self, step: int, steps: int) -> None:
        """Set what the step uses; `step` counts from 0 over the whole run of `steps`."""
        groups = [group for member in self.members for group in member.param_groups]
        for group, held in zip(groups, self.rates, strict=True):
            if isinstance(self.recipe, GroupedRecipe):
                share = triangular_share(step / steps, self.recipe, group["until"])
                rate = group["peak"] * share
            else:
                share = schedule_share(step / steps, self.recipe.schedule)
                rate = decayed_rate(step, self.recipe) * share
            group["lr"] = rate if held is None else held.fill_(rate)

    @property
    def learning_rate(self) -> float:
        """The current rate of the filters, or of everything where there is one rate."""
        return float(self.members[0].param_groups[0]["lr"])

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Move every parameter."""
        for member in self.members:
            member.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every member, for a checkpoint."""
        return {str(index): member.state_dict() for index, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for index, member in enumerate(self.members):
            member.load_state_dict(state[str(index)])


def rmsprop(parameters: Iterable[nn.Parameter], recipe: RmspropRecipe) -> torch.optim.RMSprop:
    """Return Keras' RMSprop; its learning rate is set per step."""
    moved = list(parameters)
    return torch.optim.RMSprop(
        moved,
        lr=recipe.learning_rate,
        alpha=recipe.rho,
        eps=recipe.epsilon,
        foreach=True,
        capturable=moved[0].is_cuda,
    )


def one_rate_optimizer(
    parameters: Iterable[nn.Parameter], recipe: OneRateRecipe
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe with one rate, which is set per step."""
    if isinstance(recipe, AdamRecipe):
        moved = list(parameters)
        return torch.optim.AdamW(
            moved,
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            eps=recipe.epsilon,
            weight_decay=recipe.weight_decay,
            foreach=True,
            capturable=moved[0].is_cuda,
        )
    if isinstance(recipe, PlainSgdRecipe):
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            foreach=True,
        )
    assert isinstance(recipe, RmspropRecipe), "the recipes with one rate are these three"
    return rmsprop(parameters, recipe)


def decayed_rate(step: int, recipe: OneRateRecipe) -> float:
    """Return the learning rate of the step with that index, counted from 0 over the whole run."""
    return recipe.learning_rate / (1 + recipe.decay * step)


def schedule_share(progress: float, schedule: ScheduleRecipe | None) -> float:
    """Return the rate as a share of its highest at that share of the run; 1 without a schedule."""
    if schedule is None:
        return 1.0
    if progress < schedule.warmup:
        return schedule.start + (1 - schedule.start) * progress / schedule.warmup
    done = (progress - schedule.warmup) / (1 - schedule.warmup)
    left = 1 - done if schedule.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
    return schedule.end + (1 - schedule.end) * left


def grouped_optimizers(network: nn.Module, recipe: GroupedRecipe) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a grouped recipe; the one that moves the filters comes first."""
    groups = parameter_groups(network, recipe)
    if recipe.kind == "sgd":
        return [_nesterov(list(groups.values()), recipe)]
    filters = groups.pop("filters")
    muon = Muon(
        filters["params"],
        lr=filters["lr"],
        momentum=recipe.filters_momentum,
        steps=recipe.newton_schulz_steps,
    )
    muon.param_groups[0].update(peak=filters["peak"], until=filters["until"])
    return [muon, _nesterov(list(groups.values()), recipe)]


def parameter_groups(network: nn.Module, recipe: GroupedRecipe) -> dict[str, dict[str, Any]]:
    """Return torch's parameter groups by name; parameters that are frozen are in none.

    Convolution weights are `filters`, what belongs to the layer `whitening` is `whitening_bias`,
    matrices are the `head`, all other vectors `biases`.
    """
    members: dict[str, list[nn.Parameter]] = {
        "filters": [],
        "whitening_bias": [],
        "biases": [],
        "head": [],
    }
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("whitening."):
            members["whitening_bias"].append(parameter)
        else:
            members[{4: "filters", 2: "head"}.get(parameter.ndim, "biases")].append(parameter)
    return {
        name: _group(parameters, getattr(recipe, name))
        for name, parameters in members.items()
        if parameters
    }


def _group(parameters: list[nn.Parameter], recipe: GroupRecipe) -> dict[str, Any]:
    return {
        "params": parameters,
        "lr": recipe.learning_rate,
        "peak": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "until": recipe.until,
    }


def _nesterov(groups: list[dict[str, Any]], recipe: GroupedRecipe) -> torch.optim.SGD:
    return torch.optim.SGD(groups, lr=1.0, momentum=recipe.momentum, nesterov=True, fused=True)


def triangular_share(progress: float, recipe: GroupedRecipe, until: float = 1.0) -> float:
    """Return the learning rate as a share of its peak at that share of the run.

    It rises from `start` over the warm-up and falls to `end`; a group with `until` below 1 falls
    to 0 there, and stands still afterwards.
    """
    if progress < recipe.warmup:
        return recipe.start + (1 - recipe.start) * progress / recipe.warmup
    end = recipe.end if until == 1 else 0.0
    if progress >= until:
        return end
    return end + (1 - end) * (until - progress) / (until - recipe.warmup)
