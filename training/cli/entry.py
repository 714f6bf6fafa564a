"""The entry point of `foldnorm`: says what to install where the offline tools are not."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line, or name the missing package and the extra that brings it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not have every character
            stream.reconfigure(errors="replace")
    try:
        from training.cli.app import run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"foldnorm: the offline tools need the package {error.name!r}; "
            "install them with: pip install 'foldnorm[train]'\n"
        )
        sys.exit(2)
    run()
