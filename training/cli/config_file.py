"""`--config FILE.toml`: a command's options by their names; what is given on the command line wins.

name = "lite"
mean = [123.7, 116.3, 103.5]    # as --mean 123.7,116.3,103.5
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import typer


def take_options(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a file the defaults of a command's options.

    Raises:
        BadParameter: the file cannot be read, has an unknown key or a table as a value.
    """
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise typer.BadParameter(f"cannot read {path} as TOML: {error}") from error
    names = {parameter.name: parameter for parameter in context.command.params}
    options = {
        str(name).replace("_", "-"): str(name)
        for name, parameter in names.items()
        if parameter.param_type_name == "option" and name not in ("_config", "help")
    }
    defaults = {}
    for key, value in table.items():
        if key not in options:
            raise typer.BadParameter(
                f"{path}: unknown key {key!r}; known: {', '.join(sorted(options))}"
            )
        if isinstance(value, dict):
            raise typer.BadParameter(f"{path}: {key} is a table; give a value, as --{key} takes it")
        listed = isinstance(value, list)
        defaults[options[key]] = ",".join(map(str, value)) if listed else str(value)
    context.default_map = {**(context.default_map or {}), **defaults}
    return path
