"""What the makers of a folder of artifacts would have served first: `preferences.toml` in it.

    default_model = "keras-bn"          # answers when a request names no model
    shadow_model = "keras-baseline"     # shadows the default one

Both may be missing, and the file too. A setting of the service goes before it, and a name that is
not served is passed over: other artifacts may have come into the folder, and these gone.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from models.bundle import BundleError
from models.records import RecordError, record_from_dict

FILE = "preferences.toml"


@dataclass(frozen=True)
class Preferences:
    """Names of models, without or with @version."""

    default_model: str | None = None
    shadow_model: str | None = None


def read_preferences(folder: Path) -> Preferences:
    """Return what a folder of artifacts prefers.

    Raises:
        BundleError: the file is damaged, has an unknown key or a value that is no text.
    """
    path = folder / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return record_from_dict(Preferences, table, FILE)
    except FileNotFoundError:
        return Preferences()
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, RecordError) as error:
        raise BundleError(
            f"cannot use {path} ({error}); it names a default_model and a shadow_model as texts, "
            "and may be left out"
        ) from error
