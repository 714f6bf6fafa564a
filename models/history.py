"""The learning curve of a run: one JSON object per epoch and line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.files import replace_text
from models.records import RecordError, record_from_dict

FILE_NAME = "history.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    The training figures are running means over the augmented images while the weights moved, as
    Keras reports them; the test figures are of the weights at the end of the epoch.
    """

    epoch: int  # from 1
    learning_rate: float  # of the last step
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    train_seconds: float
    test_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return asdict(self)


def write_history(records: Iterable[EpochRecord], path: Path) -> None:
    """Replace the file with these records."""
    lines = [json.dumps(record.to_dict()) + "\n" for record in records]
    replace_text(path, "".join(lines))


def read_history(path: Path) -> list[EpochRecord]:
    """Return the records of a file, in its order.

    Raises:
        RecordError: a line is not the JSON of a record.
    """
    lines = path.read_bytes().splitlines()
    return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line]


def _read_line(line: bytes, where: str) -> EpochRecord:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise RecordError(f"{where} is not JSON: {exc}") from exc
    return record_from_dict(EpochRecord, table, where)
