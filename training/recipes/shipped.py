"""TOML files that ship in a folder, read by their name, or any other by its path."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from training.errors import TrainingError


def shipped_names(folder: Path) -> list[str]:
    """Return the names of the files that ship, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_table(
    name_or_path: str, folder: Path, kind: str, error: type[TrainingError]
) -> tuple[dict[str, Any], Path]:
    """Return what a file says, and its path; `kind` is what it holds.

    Raises:
        error: there is none, or it is not TOML.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder / f"{name_or_path}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig")), path
    except FileNotFoundError as exc:
        known = ", ".join(shipped_names(folder))
        raise error(
            f"no {kind} {name_or_path!r}; those that ship: {known}, or name a .toml file"
        ) from exc
    except (OSError, ValueError, RecursionError) as exc:  # tomllib raises more than its own
        raise error(f"cannot read the {kind} {path}: {exc}") from exc
