"""The `foldnorm` command: assembles its subcommands and prints errors as one line."""

from __future__ import annotations

import sys

import typer

from training.cli.train import train
from training.errors import TrainingError

app = typer.Typer(
    name="foldnorm",
    help="Train with BatchNorm, serve without it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def foldnorm() -> None:
    """Train with BatchNorm, serve without it."""


app.command()(train)


def main() -> None:
    """Run the command line; an error that the user can mend is one line and no traceback."""
    try:
        app()
    except TrainingError as error:
        typer.echo(f"foldnorm: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
