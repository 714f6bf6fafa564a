"""The commands, each imported when it is asked for: `foldnorm predict` must not wait for torch.

A command's module and its function have its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from training.errors import TrainingError

# Command -> the extra of the distribution that brings what it needs.
EXTRAS = {
    "fetch": "train",
    "train": "train",
    "recipes": "train",
    "runs": "train",
    "study": "train",  # its report needs study, its --ray needs ray
    "export": "train",
    "pack": "fold",
    "fold": "fold",
    "doctor": "fold",
    "quantize": "train",
    "calibrate": "train",
    "verify": "fold",  # its artifact form needs train
    "evaluate": "train",
    "report": "train",
    "predict": "client",
    "bench": "client",
}


class MissingPackageError(TrainingError):
    """A command's extra is not installed."""


class LazyCommands(Mapping[str, Any]):
    """All commands; those of `EXTRAS` are made from their modules at first use."""

    def __init__(self, registered: Mapping[str, Any]) -> None:
        self._made = dict(registered)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _load(name, EXTRAS[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        yield from EXTRAS
        yield from (name for name in self._made if name not in EXTRAS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class CommandGroup(TyperGroup):
    """A group of commands that are imported when they are asked for."""

    def __init__(self, *, commands: Any = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands(commands or {})  # type: ignore[assignment] # only read


def missing_package(command: str, error: ModuleNotFoundError, extra: str) -> Exception:
    """Return what says what to install; the error itself if a module of ours is missing."""
    if error.name is None or error.name.split(".")[0] in ("training", "models"):
        return error
    return MissingPackageError(
        f"the command {command!r} needs the package {error.name!r}; install it with: "
        f"pip install 'foldnorm[{extra}]'"
    )


def _load(name: str, extra: str) -> Any:
    try:
        function = getattr(import_module(f"training.cli.{name}"), name)
    except ModuleNotFoundError as error:
        explained = missing_package(name, error, extra)
        if explained is error:
            raise
        function = _explanation(explained, extra)
    if isinstance(function, typer.Typer):  # a command with commands of its own
        return get_command(function)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(function)
    return get_command(app)


def _explanation(error: Exception, extra: str) -> Any:
    """Return a command that only says what to install."""

    def explain() -> None:
        raise error

    explain.__doc__ = f"Not installed: needs the extra {extra!r}."
    return explain


def sizes_by_name(given: Sequence[str]) -> dict[str, int]:
    """Return sizes of `NAME=VALUE`.

    Raises:
        BadParameter: one is not of that form.
    """
    sizes = {}
    for one in given:
        name, _, value = one.partition("=")
        if not name or not value.isdecimal():
            raise typer.BadParameter(f"--size {one}: give NAME=VALUE, as height=224")
        sizes[name] = int(value)
    return sizes
