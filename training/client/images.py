"""Image files as the command line names them: files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.client.errors import RequestError

STANDARD_INPUT = "-"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
MAX_IMAGES = 64  # in one request, as the server's default has it
MAX_BYTES = 16 * 1024 * 1024  # of one request's body, as the server's default has it
ENVELOPE_BYTES = 256  # an image's share of the form around the images, rounded up


@dataclass(frozen=True)
class ImageFile:
    """The bytes of one image file, and the name that it was given by."""

    name: str
    content: bytes


def expand(arguments: Iterable[str]) -> list[str]:
    """Return the names of the files meant: a folder stands for the images anywhere below it.

    Raises:
        RequestError: a name is neither file nor folder, or a folder holds no image.
    """
    return [name for argument in arguments for name in _expand_one(argument)]


def _expand_one(argument: str) -> list[str]:
    path = Path(argument)
    if argument == STANDARD_INPUT or path.is_file():
        return [argument]
    if not path.is_dir():
        raise RequestError(
            f"there is no file {argument!r}; name image files, folders, or {STANDARD_INPUT} for "
            "standard input"
        )
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise RequestError(
            f"no image in the folder {argument!r}; files count that end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return [str(file) for file in found]


def read_images(names: Iterable[str]) -> Iterator[ImageFile]:
    """Yield the files one after the other, so that a large folder is never in memory at once.

    Raises:
        RequestError: a file cannot be read, is empty, or is larger than a request may be.
    """
    for name in names:
        yield ImageFile(name, _content(name))


def _content(name: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise RequestError(f"cannot read {name} ({exc.strerror}); leave it out") from exc
    if not content:
        raise RequestError(f"{name} is empty; leave it out")
    if len(content) > MAX_BYTES - ENVELOPE_BYTES:
        raise RequestError(
            f"{name} has more than {MAX_BYTES - ENVELOPE_BYTES:,} bytes, the most that fits into "
            "one request; send a smaller one"
        )
    return content


def requests_of(images: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    """Yield the images in groups that fit into one request each, in their order."""
    group: list[ImageFile] = []
    size = 0
    for image in images:
        cost = len(image.content) + ENVELOPE_BYTES
        if group and (len(group) == MAX_IMAGES or size + cost > MAX_BYTES):
            yield group
            group, size = [], 0
        group.append(image)
        size += cost
    if group:
        yield group


def halves(images: Sequence[ImageFile]) -> tuple[Sequence[ImageFile], Sequence[ImageFile]]:
    """Return both halves of a group; the first is the smaller of an odd number."""
    middle = len(images) // 2
    return images[:middle], images[middle:]
