"""What a study is left with: tidy tables, from which every figure and page is made.

    rows.csv      one line a run: study, run, seed, preset, its levels, how it ended, its measures
    curves.csv    one line a run, epoch and layer: the learning curve and what the probes measured

Both are committed, so a run that stands in them is never trained again, wherever the study goes on.
They are replaced as a whole, under a temporary name, so a study that is killed leaves whole ones.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.files import replace_text
from training.errors import StudyError
from training.studies.statistics.scores import unit_of

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

    @property
    def key(self) -> tuple[object, ...]:
        """What there is one row of."""
        return self.preset, tuple(sorted(self.levels.items())), self.seed

    def epoch_of(self, arrival: str) -> float | None:
        """Return the epoch of an arrival, by its measure; None where there was none.

        Raises:
            StudyError: it was not computed.
        """
        if arrival not in self.measures:
            raise StudyError(
                f"run {self.run} of {self.study!r} has no {arrival}: the threshold is newer than "
                "its row; remove the row, and foldnorm study run makes it again from the run's "
                "folder"
            )
        epoch = self.measures[arrival]
        return epoch if math.isfinite(epoch) else None


@dataclass(frozen=True)
class CurvePoint:
    """What is known of a run at one point of its training, of one layer or of the whole network."""

    run: str
    seed: int
    epoch: float
    step: int
    layer: str
    values: Mapping[str, float]


def horizon(rows: Sequence[Row]) -> float:
    """Return the epochs that all runs were watched for; one that diverged never arrives later."""
    watched = [row.epochs for row in rows if row.status == "done"]
    return float(min(watched or [max(row.epochs for row in rows)]) or 1)


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


def read_rows(path: Path, study: str, factors: Sequence[str]) -> list[Row]:
    """Return the rows of a study's file; none if there is no file.

    Raises:
        StudyError: the file is damaged, of another study or of another design, or has two rows of
            one cell and seed.
    """
    columns = (*FIXED, *factors, "status", "epochs", *MADE)
    rows = [_row(line, factors, columns) for line in _read(path, columns)]
    seen: set[tuple[object, ...]] = set()
    for row in rows:
        if row.study != study:
            raise StudyError(f"{path} has a row of the study {row.study!r}, not of {study!r}")
        if row.key in seen:
            raise StudyError(
                f"{path} has two rows of {', '.join(row.levels.values())}, seed {row.seed}, preset "
                f"{row.preset!r}; keep one of them"
            )
        seen.add(row.key)
    return rows


def _row(line: Line, factors: Sequence[str], columns: Sequence[str]) -> Row:
    if line.text("status") not in ("done", "diverged"):
        raise line.error("status", "done or diverged")
    return Row(
        study=line.text("study"),
        run=line.text("run"),
        seed=line.whole("seed"),
        preset=line.text("preset"),
        levels={factor: line.text(factor) for factor in factors},
        status="done" if line.text("status") == "done" else "diverged",
        epochs=line.whole("epochs"),
        made={name: line.text(name) for name in MADE},
        measures=line.numbers(columns),
    )


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
            run=line.text("run"),
            seed=line.whole("seed"),
            epoch=line.number("epoch"),
            step=line.whole("step"),
            layer=line.text("layer"),
            values=line.numbers(CURVE_FIXED),
        )
        for line in _read(path, CURVE_FIXED)
    ]


def _write(header: Sequence[str], lines: Iterable[Mapping[str, object]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text.getvalue())


@dataclass(frozen=True)
class Line:
    """One line of a table; what it says is read with an error that names the place."""

    place: str  # file and line number
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """Return a value as it stands there."""
        return self.values[column]

    def whole(self, column: str) -> int:
        """Return a whole number."""
        try:
            return int(self.values[column])
        except ValueError as exc:
            raise self.error(column, "a whole number") from exc

    def number(self, column: str) -> float:
        """Return a number; `inf` stands for an epoch that was never reached."""
        try:
            value = float(self.values[column])
        except ValueError as exc:
            raise self.error(column, "a number") from exc
        never = value == math.inf and unit_of(column) == "epochs"
        if not (math.isfinite(value) or never):
            raise self.error(column, "a finite number")
        return value

    def numbers(self, besides: Sequence[str]) -> dict[str, float]:
        """Return the numbers of all other columns that have one."""
        return {
            name: self.number(name)
            for name, value in self.values.items()
            if name not in besides and value
        }

    def error(self, column: str, wanted: str) -> StudyError:
        """Return the complaint that a value is not what is wanted."""
        return StudyError(
            f"{self.place}: {column} is {self.values[column]!r}, not {wanted}; "
            "restore the file, by git checkout for example"
        )


def _read(path: Path, columns: Sequence[str]) -> list[Line]:
    if not path.exists():
        return []
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, ValueError, csv.Error) as exc:
        raise StudyError(f"cannot read {path}: {exc}; restore it, by git checkout") from exc
    header = lines[0] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise StudyError(
            f"{path} has no column {missing[0]!r}: it is damaged or of another design; restore it "
            "by git checkout, move it away, or take the study file that it was made with"
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise StudyError(
                f"{path}:{number} has {len(line)} values, and the header {len(header)}: it is cut "
                "off or half merged; restore it, by git checkout for example"
            )
    return [
        Line(f"{path}:{number}", dict(zip(header, line, strict=True)))
        for number, line in enumerate(lines[1:], 2)
    ]


def _number(value: float) -> str:
    return f"{value:.{DIGITS}g}"
