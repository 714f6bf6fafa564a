"""The optimizers that a recipe can name, each with its rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from training.recipes.limits import (
    Decay,
    EndOfShare,
    Epsilon,
    InnerShare,
    Range,
    Rate,
    Share,
    ShareBelowOne,
)


@dataclass(frozen=True)
class ScheduleRecipe:
    """A rate that rises over the `warmup` share of the run from `start`, then falls to `end`.

    Both are shares of the highest rate; it rises linearly and falls along a line or a half cosine.
    """

    kind: Literal["linear", "cosine"] = "linear"
    warmup: ShareBelowOne = 0.0
    start: Share = 0.2
    end: Share = 0.0


@dataclass(frozen=True)
class OneRateRecipe:
    """What the optimizers with one rate for all parameters have in common.

    `decay` shrinks the rate per step as Keras does, lr / (1 + decay t); `schedule` multiplies it.
    """

    learning_rate: Rate
    decay: Decay = 0.0
    schedule: ScheduleRecipe | None = None


@dataclass(frozen=True)
class RmspropRecipe(OneRateRecipe):
    """RMSprop as Keras 2.2 applies it."""

    rho: ShareBelowOne = 0.9
    epsilon: Epsilon = 1e-7
    kind: Literal["rmsprop"] = "rmsprop"


@dataclass(frozen=True)
class AdamRecipe(OneRateRecipe):
    """Adam; with `weight_decay` that of AdamW, apart from the gradient."""

    beta1: ShareBelowOne = 0.9
    beta2: ShareBelowOne = 0.999
    epsilon: Epsilon = 1e-7
    weight_decay: Decay = 0.0
    kind: Literal["adam"] = "adam"


@dataclass(frozen=True)
class PlainSgdRecipe(OneRateRecipe):
    """SGD, perhaps with momentum; `weight_decay` is torch's, added to the gradient."""

    momentum: ShareBelowOne = 0.0
    nesterov: bool = False
    weight_decay: Decay = 0.0
    kind: Literal["plain-sgd"] = "plain-sgd"


@dataclass(frozen=True)
class GroupRecipe:
    """One group of parameters.

    `learning_rate` is for the mean loss of a batch; `weight_decay` is torch's, multiplied by the
    rate; `until` is the share of the run after which the group stands still, reached linearly.
    """

    learning_rate: Rate
    weight_decay: Decay = 0.0
    until: EndOfShare = 1.0


@dataclass(frozen=True)
class GroupedRecipe:
    """Filters, biases and head each with a rate of their own, on a triangular schedule.

    The filters are moved by Muon or, like everything else, by SGD with Nesterov momentum. Rates
    rise linearly over the first `warmup` share of the run from `start`, then fall to `end`, both
    as shares of the highest.
    """

    kind: Literal["muon", "sgd"]
    momentum: InnerShare  # of SGD
    filters: GroupRecipe
    biases: GroupRecipe  # of the batch norms: their shifts
    head: GroupRecipe
    whitening_bias: GroupRecipe
    filters_momentum: ShareBelowOne = 0.6  # of Muon
    newton_schulz_steps: Annotated[int, Range(1, 20, example=3)] = 3
    warmup: ShareBelowOne = 0.0
    start: Share = 0.2
    end: Share = 0.0
