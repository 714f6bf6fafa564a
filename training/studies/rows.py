"""What a study is left with: tidy tables, from which every figure and page is made.

    rows.csv      one line a run: study, run, seed, preset, its levels, how it ended, its measures
    curves.csv    one line a run, epoch and layer: the learning curve and what the probes measured

Both are committed, so a run that stands in them is never trained again, wherever the study goes on.
They are replaced as a whole, under a temporary name, so a study that is killed leaves whole ones.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.errors import StudyError

ROWS, CURVES = "rows.csv", "curves.csv"
Status = Literal["done", "diverged"]
DIGITS = 6  # significant, of measured values


@dataclass(frozen=True)
class Row:
    """A finished run."""

    study: str
    run: str
    seed: int
    preset: str
    levels: Mapping[str, str]
    status: Status
    epochs: int  # done
    made: Mapping[str, str]  # precision, device, versions, date
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CurvePoint:
    """What is known of a run at one point of its training, of one layer or of the whole network."""

    run: str
    seed: int
    epoch: float
    step: int
    layer: str
    values: Mapping[str, float]


FIXED = ("study", "run", "seed", "preset")
MADE = ("precision", "device", "torch", "started")
CURVE_FIXED = ("study", "run", "seed", "epoch", "step", "layer")


def write_rows(rows: Sequence[Row], factors: Sequence[str], path: Path) -> None:
    """Replace the file with these rows."""
    measures = sorted({name for row in rows for name in row.measures})
    header = (*FIXED, *factors, "status", "epochs", *MADE, *measures)
    lines = [
        {
            "study": row.study,
            "run": row.run,
            "seed": row.seed,
            "preset": row.preset,
            **row.levels,
            "status": row.status,
            "epochs": row.epochs,
            **row.made,
            **{name: _number(value) for name, value in row.measures.items()},
        }
        for row in rows
    ]
    _write(header, lines, path)


def read_rows(path: Path, factors: Sequence[str]) -> list[Row]:
    """Return the rows of a file; none if there is no file.

    Raises:
        StudyError: the file is not a study's, or of another design.
    """
    known = {*FIXED, *factors, "status", "epochs", *MADE}
    return [
        Row(
            study=line["study"],
            run=line["run"],
            seed=int(line["seed"]),
            preset=line["preset"],
            levels={factor: line[factor] for factor in factors},
            status="done" if line["status"] == "done" else "diverged",
            epochs=int(line["epochs"]),
            made={name: line[name] for name in MADE},
            measures={n: float(v) for n, v in line.items() if n not in known and v},
        )
        for line in _read(path, (*FIXED, *factors, "status", "epochs", *MADE))
    ]


def write_curves(study: str, points: Sequence[CurvePoint], path: Path) -> None:
    """Replace the file with these points."""
    measures = sorted({name for point in points for name in point.values})
    lines = [
        {
            "study": study,
            "run": point.run,
            "seed": point.seed,
            "epoch": _number(point.epoch),
            "step": point.step,
            "layer": point.layer,
            **{name: _number(value) for name, value in point.values.items()},
        }
        for point in points
    ]
    _write((*CURVE_FIXED, *measures), lines, path)


def read_curves(path: Path) -> list[CurvePoint]:
    """Return the points of a file; none if there is no file.

    Raises:
        StudyError: the file is not a study's.
    """
    return [
        CurvePoint(
            run=line["run"],
            seed=int(line["seed"]),
            epoch=float(line["epoch"]),
            step=int(line["step"]),
            layer=line["layer"],
            values={n: float(v) for n, v in line.items() if n not in CURVE_FIXED and v},
        )
        for line in _read(path, CURVE_FIXED)
    ]


def _write(header: Sequence[str], lines: Iterable[Mapping[str, object]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text.getvalue())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise StudyError(
                f"{path} has no column {missing[0]!r}: it is of another design; move it away, or "
                "take the study file that it was made with"
            )
        return list(reader)


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"
