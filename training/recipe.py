"""Recipes: everything that decides a training run, as data.

A recipe is a TOML file in `training/recipes/` (or any path) read into frozen dataclasses. A key
that no dataclass has is an error, so a misspelt option cannot be ignored in silence.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"

T = TypeVar("T")


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
        for name, value, sound in (
            ("epochs", self.epochs, self.epochs >= 1),
            ("batch_size", self.batch_size, self.batch_size >= 2),
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
            if not sound:
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
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise RecipeError(f"cannot read the recipe {path}: {exc}") from exc
    return recipe_from_dict(table, str(path))


def recipe_from_dict(table: dict[str, Any], source: str) -> Recipe:
    """Build a recipe from plain values, refusing every unknown key."""
    return _build(Recipe, table, source)


def _build(cls: type[T], table: dict[str, Any], where: str) -> T:
    """Build a dataclass from a table, nested tables into nested dataclasses."""
    hints = typing.get_type_hints(cls)
    fields = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    missing = [
        name
        for name, entry in fields.items()
        if name not in values
        and entry.default is dataclasses.MISSING
        and entry.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"{where}: the key {missing[0]!r} is missing")
    return cls(**values)


def _value(expected: Any, value: Any, where: str) -> Any:
    """Return a value as the type that its field declares."""
    if dataclasses.is_dataclass(expected):
        if not isinstance(value, dict):
            raise RecipeError(f"{where} must be a table")
        return _build(typing.cast("type[Any]", expected), value, where)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = typing.get_origin(expected) or expected
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise RecipeError(f"{where} = {value!r} must be a {plain.__name__}")
    return value
