"""Recipes: everything that decides a training run, as data.

A recipe is a TOML file in `training/recipes/` (or any path) read into frozen dataclasses. A key
that no dataclass has is an error (`models.records`).
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.bundle import NAME_PATTERN
from models.records import RecordError, record_from_dict
from training.errors import RecipeError
from training.recipes.limits import (
    COUNT,
    END_OF_SHARE,
    INNER_SHARE,
    MIN_SIDE,
    NOT_NEGATIVE,
    NOTHING,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Limit,
    Range,
    limits_of,
)

RECIPES = Path(__file__).parent

Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class NetworkRecipe:
    """Which definition of `models.networks`, and its options."""

    architecture: str
    options: dict[str, bool | int | float | str | tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RmspropRecipe:
    """RMSprop as Keras 2.2 applies it; `decay` shrinks the learning rate per step."""

    learning_rate: float
    decay: float = 0.0
    rho: float = 0.9
    epsilon: float = 1e-7
    kind: Literal["rmsprop"] = "rmsprop"


@dataclass(frozen=True)
class GroupRecipe:
    """One group of parameters.

    `learning_rate` is for the mean loss of a batch; `weight_decay` is torch's, multiplied by the
    rate; `until` is the share of the run after which the group stands still, reached linearly.
    """

    learning_rate: float
    weight_decay: float = 0.0
    until: float = 1.0


@dataclass(frozen=True)
class GroupedRecipe:
    """Filters, biases and head each with a rate of their own, on a triangular schedule.

    The filters are moved by Muon or, like everything else, by SGD with Nesterov momentum. Rates
    rise linearly over the first `warmup` share of the run from `start`, then fall to `end`, both
    as shares of the highest.
    """

    kind: Literal["muon", "sgd"]
    momentum: float  # of SGD
    filters: GroupRecipe
    biases: GroupRecipe  # of the batch norms: their shifts
    head: GroupRecipe
    whitening_bias: GroupRecipe
    filters_momentum: float = 0.6  # of Muon
    newton_schulz_steps: int = 3
    warmup: float = 0.0
    start: float = 0.2
    end: float = 0.0


@dataclass(frozen=True)
class AugmentationRecipe:
    """What is drawn for each image; nothing by default.

    `max_shift`, a fraction of the side, and `flip_probability` are Keras': real-valued shifts by
    interpolation, mirrored by a coin in every epoch. The others are whole pixels and shares:
    a crop moved by up to `crop` pixels, `alternating_flip` (a coin for the first epoch, then
    mirrored in every other one), brightness and contrast changed by up to these shares, and a
    square of `cutout` pixels filled with the mean colour.
    """

    max_shift: float = 0.0
    flip_probability: float = 0.0
    crop: int = 0
    alternating_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: int = 0

    @property
    def interpolates(self) -> bool:
        """Whether images are shifted and mirrored as Keras does."""
        return bool(self.max_shift or self.flip_probability)

    @property
    def gathers(self) -> bool:
        """Whether images are cropped and mirrored by whole pixels."""
        return bool(self.crop or self.alternating_flip)


@dataclass(frozen=True)
class ResolutionStage:
    """Images are shrunk to `side` pixels until that share of the run is over."""

    side: int
    until: float


@dataclass(frozen=True)
class AveragingRecipe:
    """A second set of weights, pulled towards the trained ones every few steps.

    `lookahead` sets the trained weights back to it each time, and its pull weakens over the run;
    `ema` only watches and takes over at the end.
    """

    kind: Literal["lookahead", "ema"]
    every: int = 5  # steps
    decay: float = 0.95  # of the old average, per step


@dataclass(frozen=True)
class Recipe:
    """One training run, but for its seed override and its device."""

    name: str
    title: str
    epochs: int
    batch_size: int
    seed: int
    network: NetworkRecipe
    optimizer: RmspropRecipe | GroupedRecipe
    augmentation: AugmentationRecipe = AugmentationRecipe()
    probability_clip: float = 0.0  # of the softmax inside the loss; Keras clips at 1e-7
    label_smoothing: float = 0.0
    curriculum: tuple[ResolutionStage, ...] = ()  # full size after the last stage
    averaging: AveragingRecipe | None = None
    recalibrate: bool = False  # the statistics of the batch norms, after the last step
    precision: Precision = "float32"  # of products; "auto": the fastest sound one of the device

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise RecipeError(f"name {self.name!r} must be lower-case words joined by -")
        for limit in self._limits():
            if limit.complaint:
                raise RecipeError(f"recipe {self.name!r}: {limit.complaint}")

    def _limits(self) -> Iterator[Limit]:
        yield from limits_of(
            {
                "epochs": (self.epochs, COUNT, 50),
                "batch_size": (self.batch_size, Range(2), 500),
                "seed": (self.seed, NOT_NEGATIVE, 7),
                "probability_clip": (self.probability_clip, Range(0, 0.5, "high"), 1e-7),
                "label_smoothing": (self.label_smoothing, SHARE_BELOW_ONE, 0.2),
            }
        )
        yield from _optimizer_limits(self.optimizer)
        yield from _augmentation_limits(self.augmentation)
        yield from _curriculum_limits(self.curriculum)
        if self.averaging is not None:
            averaging = {
                "every": (self.averaging.every, COUNT, 5),
                "decay": (self.averaging.decay, INNER_SHARE, 0.95),
            }
            yield from limits_of(averaging, "averaging.")

    def side_at(self, progress: float, full: int) -> int:
        """Return the side of the images at that share of the run, from 0 to 1."""
        return next((stage.side for stage in self.curriculum if progress < stage.until), full)

    @property
    def bound_to_epochs(self) -> bool:
        """Whether a longer run is another one from the first step on."""
        grouped = isinstance(self.optimizer, GroupedRecipe)
        return grouped or bool(self.curriculum) or self.averaging is not None or self.recalibrate

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        return dataclasses.asdict(self)


def _optimizer_limits(recipe: RmspropRecipe | GroupedRecipe) -> Iterator[Limit]:
    if isinstance(recipe, RmspropRecipe):
        numbers = {
            "learning_rate": (recipe.learning_rate, POSITIVE, 1e-3),
            "decay": (recipe.decay, NOT_NEGATIVE, 1e-6),
            "rho": (recipe.rho, SHARE_BELOW_ONE, 0.9),
            "epsilon": (recipe.epsilon, POSITIVE, 1e-7),
        }
        yield from limits_of(numbers, "optimizer.")
        return
    numbers = {
        "momentum": (recipe.momentum, INNER_SHARE, 0.85),
        "filters_momentum": (recipe.filters_momentum, SHARE_BELOW_ONE, 0.6),
        "newton_schulz_steps": (recipe.newton_schulz_steps, Range(1, 20), 3),
        "warmup": (recipe.warmup, SHARE_BELOW_ONE, 0.1),
        "start": (recipe.start, SHARE, 0.2),
        "end": (recipe.end, SHARE, 0.07),
    }
    yield from limits_of(numbers, "optimizer.")
    for name in ("filters", "biases", "head", "whitening_bias"):
        group: GroupRecipe = getattr(recipe, name)
        group_numbers = {
            "learning_rate": (group.learning_rate, POSITIVE, 0.1),
            "weight_decay": (group.weight_decay, NOT_NEGATIVE, 0),
            "until": (group.until, END_OF_SHARE, 1),
        }
        yield from limits_of(group_numbers, f"optimizer.{name}.")
    if recipe.kind == "muon":
        yield Limit(
            "optimizer.filters.weight_decay",
            recipe.filters.weight_decay,
            NOTHING,
            'leave it out: Muon keeps the norm of the filters; or take kind = "sgd"',
        )


def _augmentation_limits(recipe: AugmentationRecipe) -> Iterator[Limit]:
    numbers = {
        "max_shift": (recipe.max_shift, SHARE_BELOW_ONE, 0.1),
        "flip_probability": (recipe.flip_probability, SHARE, 0.5),
        "crop": (recipe.crop, NOT_NEGATIVE, 2),
        "brightness": (recipe.brightness, SHARE, 0.14),
        "contrast": (recipe.contrast, SHARE, 0.13),
        "cutout": (recipe.cutout, NOT_NEGATIVE, 12),
    }
    yield from limits_of(numbers, "augmentation.")
    if recipe.gathers:
        for key in ("max_shift", "flip_probability"):
            yield Limit(
                f"augmentation.{key}",
                getattr(recipe, key),
                NOTHING,
                "leave it out, or crop and alternating_flip: an image is moved by one of them",
            )


def _curriculum_limits(stages: tuple[ResolutionStage, ...]) -> Iterator[Limit]:
    previous = 0.0
    for index, stage in enumerate(stages):
        key = f"curriculum[{index}]"
        yield Limit(f"{key}.side", stage.side, Range(MIN_SIDE), "the networks take no smaller one")
        remedy = "order the stages by the share of the run at which they end"
        yield Limit(f"{key}.until", stage.until, Range(previous, 1, "low"), remedy)
        previous = stage.until


def available_recipes() -> list[str]:
    """Return the names of the recipes that ship, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe that ships by its name, or any recipe by its path.

    Raises:
        RecipeError: there is none, it is not TOML, or a key or value is wrong.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        known = ", ".join(available_recipes())
        raise RecipeError(
            f"no recipe {name_or_path!r}; those that ship: {known}, or name a .toml file"
        ) from exc
    except (OSError, ValueError, RecursionError) as exc:  # tomllib raises more than its own
        raise RecipeError(f"cannot read the recipe {path}: {exc}") from exc
    return recipe_from_dict(table, str(path))


def recipe_from_dict(table: dict[str, Any], source: str) -> Recipe:
    """Build a recipe from plain values, refusing every unknown key.

    Raises:
        RecipeError: a key or value is wrong.
    """
    try:
        return record_from_dict(Recipe, table, source)
    except RecordError as exc:
        raise RecipeError(str(exc)) from exc
