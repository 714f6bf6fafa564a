"""CIFAR-10 from its official place, or from an archive at hand, to a folder that is whole.

    archive ─► size and MD5 ─► unpacked in a temporary folder ─► MD5 of each file ─► renamed

A download that breaks off is kept under a temporary name and resumed by the next call. Nothing
stands under a final name before it was verified.
"""

from __future__ import annotations

import hashlib
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from training.data.cifar10 import FOLDER, PUBLISHED_MD5
from training.errors import DataError

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
GZIP = b"\x1f\x8b"  # how every gzip file begins
PAGES = ("text/html", "application/xhtml+xml")  # what no archive is


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

Report = Callable[[int], None]  # called with the bytes of the archive that are here

# What urllib raises for a line that breaks off; a bare OSError is of the disk.
NETWORK_ERRORS = (
    urllib.error.URLError,
    HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


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
    """Bring the archive to a temporary name, going on where an earlier call broke off.

    Raises:
        DataError: no connection, or another file than the published one.
    """
    present = target.stat().st_size if _begins_as_gzip(target) else 0
    if present < archive.size_bytes:
        try:
            _transfer(target, present, report, archive)
        except NETWORK_ERRORS as exc:
            reason = getattr(exc, "reason", None) or exc
            raise DataError(
                f"cannot download {archive.url} ({reason}); what has come is kept, the same "
                "command goes on from there; or bring the file yourself and name it with --archive"
            ) from exc
    _check_archive(target, archive, kept="it was deleted, try again")


def _transfer(target: Path, present: int, report: Report, archive: Archive) -> None:
    request = urllib.request.Request(archive.url)  # noqa: S310 - the scheme was checked
    if present:
        request.add_header("Range", f"bytes={present}-")
    with _open(request) as answer:
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        done = present if resumed else 0
        _check_answer(answer, done, archive)
        with target.open("ab" if resumed else "wb") as file:
            report(done)
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                report(done)
                if done > archive.size_bytes:
                    break  # another file, which its checksum will show
    if done < archive.size_bytes:
        raise ConnectionError(f"it broke off after {done:,} of {archive.size_bytes:,} bytes")


def _check_answer(answer: Any, done: int, archive: Archive) -> None:
    """Refuse, before anything is kept of it, what is not the archive: a login page, as a rule."""
    kind = answer.headers.get_content_type()
    length = answer.headers.get("Content-Length")
    left = archive.size_bytes - done
    if kind in PAGES or (length is not None and length != str(left)):
        size = "" if length is None else f" of {length} bytes"
        raise DataError(
            f"{answer.url} answers with {kind}{size}, where {left:,} bytes of the archive were "
            "asked for; is there a login page in between? Nothing of it was kept; try again, or "
            "bring the file yourself and name it with --archive"
        )


def _begins_as_gzip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _open(request: urllib.request.Request) -> Any:
    """Open an address; from its start where the server has less than what is here already."""
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - likewise
    except urllib.error.HTTPError as exc:
        if exc.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        exc.close()
        request.remove_header("Range")
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - likewise


def unpack(archive_file: Path, data_dir: Path, archive: Archive) -> Path:
    """Unpack a verified archive and put its files, once verified too, into their places.

    What else is in the folder stays.

    Raises:
        DataError: the file is not the published archive, or there is no room on the disk.
    """
    folder = data_dir / FOLDER
    _check_place(folder)
    _check_archive(archive_file, archive, kept=None)
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


def _check_archive(path: Path, archive: Archive, kept: str | None) -> None:
    """Compare size and MD5; a wrong download is deleted, a file of the user's is not."""
    try:
        size = path.stat().st_size
        actual = _file_md5(path)
    except OSError as exc:
        raise DataError(f"cannot read {path} ({exc.strerror}); name the archive's file") from exc
    if actual == archive.md5:
        return
    if kept:
        path.unlink()
    raise DataError(
        f"{path} ({size:,} bytes) has MD5 {actual}, the published archive has {archive.md5} and "
        f"{archive.size_bytes:,} bytes; {kept or 'bring another copy'}"
    )


def _file_md5(path: Path) -> str:
    with path.open("rb") as file:
        # The published checksum is MD5: it shows a damaged file, and needs no secrecy.
        digest: Any = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        return str(digest.hexdigest())
