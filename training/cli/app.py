"""The `foldnorm` command: assembles its subcommands and prints errors as one line."""

from __future__ import annotations

import os
import sys

import typer

from models.bundle import BundleError
from training.cli.commands import CommandGroup
from training.errors import TrainingError

app = typer.Typer(
    name="foldnorm",
    cls=CommandGroup,
    help="Train with BatchNorm, serve without it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def foldnorm() -> None:
    """Train with BatchNorm, serve without it."""


def run() -> None:
    """Run the command line; an error that the user can mend is one line and no traceback."""
    try:
        try:
            app()
        finally:
            _discard_what_nobody_reads()
    except (TrainingError, BundleError) as error:
        typer.echo(f"foldnorm: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 2))
    except OSError as error:  # a full disk, a folder that cannot be written to
        typer.echo(f"foldnorm: {error}; make room, or choose another place", err=True)
        sys.exit(2)


def _discard_what_nobody_reads() -> None:
    """Keep a closed pipe, or a full disk behind it, from failing once more as the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()
