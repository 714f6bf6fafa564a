"""`python -m service.api.page.vendoring`: others' code for the browser, from npm into `web/vendor`.

`VENDOR.toml` names packages, versions and files, what is replaced in them, and the SHA-256 of what
comes out. A file that comes out otherwise is not written. Needs npm; the service needs neither.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.records import record_from_dict
from service.api.page.assets import WEB

FOLDER: Final = WEB / "vendor"
LICENCES: Final = "LICENSES"


class VendoringError(Exception):
    """npm failed, or a file is not what the lock says."""


@dataclass(frozen=True)
class VendoredFile:
    """A file of a package of npm's, and what becomes of it."""

    name: str
    package: str
    version: str
    source: str
    licence: str
    licence_file: str
    sha256: str
    replace: tuple[str, ...] = ()  # a text and what takes its place

    def made_of(self, content: bytes) -> bytes:
        """Return what is committed of the package's file.

        Raises:
            VendoringError: the text to replace is not in it, or the result is another one.
        """
        if self.replace:
            old, new = (text.encode() for text in self.replace)
            if old not in content:
                raise VendoringError(f"{self.name}: {self.replace[0]!r} is not in {self.source}")
            content = content.replace(old, new)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise VendoringError(
                f"{self.name} of {self.package} {self.version} comes out as {found}, and "
                f"VENDOR.toml says {self.sha256 or 'nothing'}; look at it, then change the sum"
            )
        return content


def locked_files(folder: Path = FOLDER) -> list[VendoredFile]:
    """Return what VENDOR.toml names."""
    table = tomllib.loads((folder / "VENDOR.toml").read_text(encoding="utf-8"))
    return [record_from_dict(VendoredFile, entry, "VENDOR.toml") for entry in table["file"]]


def vendor(files: Sequence[VendoredFile], folder: Path = FOLDER) -> None:
    """Fetch the packages, and write their files and licences."""
    with tempfile.TemporaryDirectory() as temporary:
        packages = {
            key: fetch(*key, Path(temporary)) for key in {(f.package, f.version) for f in files}
        }
        made = {file: packages[file.package, file.version] for file in files}
        contents = {
            file.name: file.made_of((root / file.source).read_bytes())
            for file, root in made.items()
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        for file, root in made.items():
            licence = (root / file.licence_file).read_bytes()
            (folder / LICENCES / f"{file.package}.txt").write_bytes(licence)


def fetch(package: str, version: str, folder: Path) -> Path:
    """Return the folder of an unpacked package."""
    run = subprocess.run(  # noqa: S603 - names and versions of the lock file
        ["npm", "pack", "--silent", f"{package}@{version}"],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise VendoringError(f"npm pack {package}@{version} failed: {run.stderr.strip()}")
    target = folder / f"{package}-{version}"
    with tarfile.open(folder / run.stdout.split()[-1]) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


def main() -> None:
    """Bring all files; exits 1 with a line if one is not as locked."""
    try:
        vendor(locked_files())
    except (VendoringError, OSError) as error:
        sys.exit(f"vendoring: {error}")


if __name__ == "__main__":
    main()
