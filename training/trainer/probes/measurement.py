"""One measured number of a run, and the file of all of them: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from models.files import replace_text
from models.records import record_from_dict

FILE_NAME = "measures.jsonl"


@dataclass(frozen=True)
class Measurement:
    """A number, where in the run it was measured and of which layer it is."""

    epoch: float  # epochs done, in shares: the steps done over those of an epoch
    step: int  # steps done
    measure: str  # what, with its unit where it has one
    value: float
    layer: str = ""  # empty for the network as a whole


def write_measurements(measurements: Iterable[Measurement], path: Path) -> None:
    """Replace the file with these measurements."""
    replace_text(path, "".join(json.dumps(asdict(one)) + "\n" for one in measurements))


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements of a file; none if there is no file.

    Raises:
        RecordError: a line is not a measurement.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [record_from_dict(Measurement, json.loads(line), str(path)) for line in lines]
