"""The folder in which several processes keep one set of metrics.

It is removed when the service ends. A service that was killed leaves its folder, and the next one
that starts removes it: a lock says that somebody still uses it, for it is held by every process of
a service and ends with the last of them, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows, which serves from one process
    fcntl = None  # type: ignore[assignment]

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is used
PREFIX = "foldnorm-metrics-"
LOCK = "in-use"


@contextmanager
def shared_metrics() -> Iterator[Path]:
    """Give the processes that are forked meanwhile one folder for their metrics."""
    remove_leftovers(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of services that were killed."""
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:  # used, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _lock(folder: Path) -> IO[bytes]:
    """Return the open lock; it has its name only once it is locked."""
    unfinished = folder / "new"
    file = unfinished.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    unfinished.rename(folder / LOCK)
    return file
