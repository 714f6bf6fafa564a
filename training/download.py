"""CIFAR-10 from its official place, or from an archive at hand, to a folder that is whole.

    archive ─► size and MD5 ─► unpacked beside its place ─► MD5 of each file ─► renamed

A download that breaks off is begun again by the next call. Nothing stands under a final name before
it was verified.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pooch
import requests

from training.data import FOLDER, PUBLISHED_MD5
from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
RETRIES = 1  # in one call, each from the start


@dataclass(frozen=True)
class Archive:
    """What is published: where, how large, and the MD5 of it and of each file in it."""

    url: str
    md5: str
    size_bytes: int
    files: Mapping[str, str]


CIFAR10 = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    size_bytes=170_498_071,
    files=PUBLISHED_MD5,
)

Report = Callable[[int], None]  # told how many bytes of the archive are here


def is_complete(folder: Path, archive: Archive) -> bool:
    """Return whether every file of the dataset is in the folder, as published."""
    try:
        return all(_file_md5(folder / name) == md5 for name, md5 in archive.files.items())
    except OSError:  # missing, or not to be read
        return False


def fetch_dataset(data_dir: Path, report: Report, archive: Archive) -> Path:
    """Download, verify and unpack the dataset; return the folder of its files.

    Raises:
        DataError: no connection, another file than the published one, or no room on the disk.
    """
    _check_address(archive.url)
    _check_place(data_dir / FOLDER)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        local = data_dir / f".{urlsplit(archive.url).path.rpartition('/')[2]}.partial"
        download(local, report, archive)
        folder = unpack(local, data_dir, archive)
        local.unlink()
    except OSError as exc:
        raise _cannot_write(data_dir, exc) from exc
    return folder


def _check_address(url: str) -> None:
    """Refuse what urllib would open as a file, or stumble over."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        sound = False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        raise DataError(f"cannot download {url!r}: give an http or https address")


def _check_place(folder: Path) -> None:
    """Refuse early what a finished folder could not replace."""
    if folder.is_symlink() or folder.is_file():
        raise DataError(
            f"{folder} is a link or a file, and not the whole dataset; remove it, or name another "
            "folder"
        )


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write to {folder}: {error.strerror or error}; make room, or name another folder"
    )


def download(target: Path, report: Report, archive: Archive) -> None:
    """Bring the archive to a name, verified; what breaks off is begun again.

    Raises:
        DataError: no connection, or another file than the published one.
    """
    try:
        pooch.create(
            target.parent,
            base_url="",
            registry={target.name: f"md5:{archive.md5}"},
            urls={target.name: archive.url},
            retry_if_failed=RETRIES,
        ).fetch(
            target.name,
            downloader=pooch.HTTPDownloader(_Progress(report), CHUNK_BYTES, timeout=TIMEOUT_S),
        )
    except requests.exceptions.RequestException as exc:
        raise DataError(
            f"cannot download {archive.url} ({exc}); try again, or bring the file yourself and "
            "name it with --archive"
        ) from exc
    except ValueError as exc:
        raise DataError(f"{archive.url} is not the published archive: {exc}; try again") from exc


class _Progress:
    """What pooch tells of a download, as a count of bytes."""

    def __init__(self, report: Report) -> None:
        self.total = 0
        self._report = report
        self.reset()

    def reset(self) -> None:
        self._done = 0
        self._report(0)

    def update(self, count: int) -> None:
        self._done += count
        self._report(self._done)

    def close(self) -> None:
        pass


def unpack(archive_file: Path, data_dir: Path, archive: Archive) -> Path:
    """Unpack a verified archive and put its files, once verified too, into their places.

    What else is in the folder stays.

    Raises:
        DataError: the file is not the published archive, or there is no room on the disk.
    """
    folder = data_dir / FOLDER
    _check_place(folder)
    _check_archive(archive_file, archive)
    temporary = data_dir / f".{FOLDER}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _extract(archive_file, temporary, archive)
        folder.mkdir(exist_ok=True)
        for name in archive.files:
            (temporary / name).replace(folder / name)
    except OSError as exc:
        raise _cannot_write(data_dir, exc) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _extract(archive_file: Path, temporary: Path, archive: Archive) -> None:
    """Copy the files that are expected, and nothing else, out of the archive."""
    temporary.mkdir(parents=True)
    try:
        with tarfile.open(archive_file, "r:gz") as tar:
            for name in archive.files:
                source = tar.extractfile(f"{FOLDER}/{name}")
                if source is None:
                    raise DataError(f"{archive_file}: {FOLDER}/{name} is not a file")
                with source, (temporary / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, KeyError, EOFError) as exc:
        raise DataError(f"{archive_file} is not the published archive: {exc}") from exc
    for name, md5 in archive.files.items():
        if _file_md5(temporary / name) != md5:
            raise DataError(f"{archive_file}: {name} in it is not the published file")


def _check_archive(path: Path, archive: Archive) -> None:
    """Compare size and MD5."""
    try:
        size = path.stat().st_size
        actual = _file_md5(path)
    except OSError as exc:
        raise DataError(f"cannot read {path} ({exc.strerror}); name the archive's file") from exc
    if actual == archive.md5:
        return
    raise DataError(
        f"{path} ({size:,} bytes) has MD5 {actual}, the published archive has {archive.md5} and "
        f"{archive.size_bytes:,} bytes; bring another copy"
    )


def _file_md5(path: Path) -> str:
    with path.open("rb") as file:
        # The published checksum is MD5: it tells a damaged file, and needs no secrecy.
        digest: Any = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return str(digest.hexdigest())
