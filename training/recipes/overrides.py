"""Changes to a recipe: from the command line, `optimizer.learning_rate=1e-3`, or from a study."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from training.errors import RecipeError
from training.recipes.recipe import Recipe, recipe_from_dict


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Return the recipe with each `KEY=VALUE` applied; a value is read as TOML, else as a word.

    Raises:
        RecipeError: an assignment is none, or what it makes of the recipe is wrong.
    """
    patch: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        words = key.strip().split(".")
        if not separator or not all(words):
            raise RecipeError(
                f"--set {assignment!r} is no KEY=VALUE; "
                "write --set optimizer.learning_rate=1e-3, for example"
            )
        nested = patch
        for word in words[:-1]:
            nested = nested.setdefault(word, {})
            if not isinstance(nested, dict):
                raise RecipeError(f"--set {assignment!r}: {word} was set to a value before")
        nested[words[-1]] = _value(text.strip())
    return patched(recipe, patch, f"recipe {recipe.name!r} with --set") if patch else recipe


def patched(recipe: Recipe, patch: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe with the values of a nested table in place of its own.

    A table that names another `kind` than the one there, as of optimizers, replaces it as a whole.

    Raises:
        RecipeError: an unknown key or a wrong value.
    """
    return recipe_from_dict(_merged(recipe.to_dict(), patch), where)


def _merged(table: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in patch.items():
        there = merged.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping) and _same_kind(there, value):
            merged[key] = _merged(there, value)
        else:
            merged[key] = value
    return merged


def _same_kind(table: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    return bool(patch.get("kind", table.get("kind")) == table.get("kind"))


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # tomllib raises more than its own
        return text
    if len(table) > 1:
        raise RecipeError(
            f"--set with a value of several lines, {text!r}; write one --set for each"
        )
    return table["value"]
