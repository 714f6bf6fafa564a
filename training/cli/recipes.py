"""`foldnorm recipes`: list the recipes that ship, or show one as TOML."""

from __future__ import annotations

from typing import Annotated

import tomli_w
import typer
from rich.console import Console
from rich.table import Table

from training.recipes import available_recipes, load_recipe, override


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
    if name:
        typer.echo(
            tomli_w.dumps(override(load_recipe(name), assignments or []).to_toml()), nl=False
        )
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
