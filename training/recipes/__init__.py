"""The experiments as data: TOML files, the frozen dataclasses that read them, and their ranges.

A new option of a recipe begins here. Nothing here trains, and nothing imports torch.
"""

from training.recipes.overrides import override, patched
from training.recipes.recipe import Recipe, available_recipes, load_recipe, recipe_from_dict

__all__ = [
    "Recipe",
    "available_recipes",
    "load_recipe",
    "override",
    "patched",
    "recipe_from_dict",
]
