"""Recipes: everything that decides a training run, as data.

A recipe is a TOML file in `training/recipes/` (or any path) read into frozen dataclasses. A key
that no dataclass has is an error (`models.records`).
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.bundle import NAME_PATTERN
from models.records import RecordError, record_from_dict
from training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class NetworkRecipe:
    """Which definition of `models.networks`, and its options."""

    architecture: str
    options: dict[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerRecipe:
    """RMSprop as Keras 2.2 applies it; `decay` shrinks the learning rate per step."""

    learning_rate: float
    decay: float = 0.0
    rho: float = 0.9
    epsilon: float = 1e-7


@dataclass(frozen=True)
class AugmentationRecipe:
    """Random shift, as a fraction of the side, and mirroring, each drawn per image."""

    max_shift: float = 0.0
    flip_probability: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """One training run, but for its seed override and its device."""

    name: str
    title: str
    epochs: int
    batch_size: int
    seed: int
    network: NetworkRecipe
    optimizer: OptimizerRecipe
    augmentation: AugmentationRecipe = AugmentationRecipe()
    probability_clip: float = 0.0  # of the softmax inside the loss; Keras clips at 1e-7

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise RecipeError(f"name {self.name!r} must be lower-case words joined by -")
        for name, value, sound in (
            ("epochs", self.epochs, self.epochs >= 1),
            ("batch_size", self.batch_size, self.batch_size >= 2),
            ("seed", self.seed, self.seed >= 0),
            ("learning_rate", self.optimizer.learning_rate, self.optimizer.learning_rate > 0),
            ("decay", self.optimizer.decay, self.optimizer.decay >= 0),
            ("rho", self.optimizer.rho, 0 <= self.optimizer.rho < 1),
            ("epsilon", self.optimizer.epsilon, self.optimizer.epsilon > 0),
            ("max_shift", self.augmentation.max_shift, 0 <= self.augmentation.max_shift < 1),
            (
                "flip_probability",
                self.augmentation.flip_probability,
                0 <= self.augmentation.flip_probability <= 1,
            ),
            ("probability_clip", self.probability_clip, 0 <= self.probability_clip < 0.5),
        ):
            if not sound or not math.isfinite(value):
                raise RecipeError(f"recipe {self.name!r}: {name} = {value} is out of range")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        return dataclasses.asdict(self)


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
