"""Files that are replaced whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; at the end it is flushed to the disk and becomes `path`.

    On an error what was written is removed, so that it keeps no room, and `path` is as before.
    Processes that write the same path at once must take turns.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Make `text` the content of `path`, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())
