"""The files of `web/`, read once: their types, and the hash of them all that stands in their URLs.

Every file lies under `/assets/{tree}/`, where `tree` is a hash of all of them, so that modules
import each other by relative paths and a browser may keep them for ever. They are compressed when
they are first asked for, once.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parent / "web"
# The operating systems' own tables differ.
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
COMPRESSED: Final = frozenset({".png"})  # already
PAGES: Final = ("index.html", "docs.html")


class MissingAssetsError(Exception):
    """The installed package has no web page in it."""


class Asset:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.media_type = TYPES[path.suffix]
        self._packs = path.suffix not in COMPRESSED

    @cached_property
    def gzipped(self) -> bytes | None:
        """The content compressed; None where that is no use."""
        return gzip.compress(self.content, 9, mtime=0) if self._packs else None


class Assets:
    """All files, by their paths below `web/`.

    Raises:
        MissingAssetsError: they were left out of the package.
    """

    def __init__(self, folder: Path = WEB) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.suffix in TYPES)
        self._files = {path.relative_to(folder).as_posix(): Asset(path) for path in paths}
        missing = [page for page in PAGES if page not in self._files]
        if missing:
            raise MissingAssetsError(
                f"{folder} has no {missing[0]}: the package was built without its web page; "
                "install it again"
            )
        digest = hashlib.sha256()
        for name, asset in self._files.items():
            digest.update(f"{name} {hashlib.sha256(asset.content).hexdigest()}\n".encode())
        self.tree = digest.hexdigest()[:16]

    def find(self, tree: str, path: str) -> Asset | None:
        """Return a file of this tree; None of another one, as in a rolling restart."""
        return self._files.get(path) if tree == self.tree else None

    def page(self, name: str, **values: str) -> str:
        """Return a page with `{{tree}}` and other values filled in."""
        text = self._files[name].content.decode()
        for key, value in {"tree": self.tree, **values}.items():
            text = text.replace(f"{{{{{key}}}}}", value)
        return text
