"""`foldnorm recipes`: list the recipes that ship, or show one as TOML."""

from __future__ import annotations

import json
from typing import Annotated

import tomli_w
import typer
from rich.console import Console
from rich.table import Table

from models.networks import default_options
from training.errors import RecipeError
from training.recipes import available_recipes, load_recipe, override
from training.trainer.networks import network_of
from training.trainer.own_network import names_own_network


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="Show this one, or a .toml file.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Instead of the recipe's; repeatable."),
    ] = None,
) -> None:
    """List the recipes that ship, or show all that one decides, defaults too."""
    if assignments and not name:
        raise RecipeError("--set needs a recipe to change; write foldnorm recipes RECIPE --set …")
    if name:
        recipe = override(load_recipe(name), assignments or [])
        own = names_own_network(recipe.network.architecture)
        if not own:
            network_of(recipe)  # refuses what its network does not take
        typer.echo(tomli_w.dumps(recipe.to_toml()), nl=False)
        if own:  # what it takes is its own affair
            return
        typer.echo(f"\n# Left at their defaults, of {recipe.network.architecture}:")
        for option, value in default_options(recipe.network.architecture).items():
            if option not in recipe.network.options and value is not None:
                typer.echo(f"# network.options.{option} = {json.dumps(value)}")
        return
    table = Table("recipe", "title", "network", "epochs", "batch", "optimizer")
    for known in available_recipes():
        recipe = load_recipe(known)
        table.add_row(
            known,
            recipe.title,
            recipe.network.architecture,
            str(recipe.epochs),
            str(recipe.batch_size),
            recipe.optimizer.kind,
        )
    Console().print(table)
    typer.echo(
        "foldnorm recipes RECIPE shows one; foldnorm train RECIPE --set KEY=VALUE changes it"
    )
