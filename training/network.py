"""The network that a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.networks import build_network
from training.errors import RecipeError

if TYPE_CHECKING:
    from models.networks import Network
    from training.recipe import Recipe


def network_of(recipe: Recipe) -> Network:
    """Return the recipe's network, freshly constructed.

    Raises:
        RecipeError: there is no such architecture, or it has no such option.
    """
    try:
        return build_network(recipe.network.architecture, recipe.network.options)
    except ValueError as exc:
        raise RecipeError(f"recipe {recipe.name!r}: {exc}") from exc
