"""The design of a study: a TOML file in `designs/` or any path, read into frozen dataclasses.

    study     a question and its design
    factor    what is varied; its levels are named, and each is a patch of the recipe
    cell      one combination of levels
    run       a cell with a seed
    preset    how large: epochs, seeds, images, for a CPU, a GPU or a test
    contrast  weights over cells: what an effect is

Everything that decides the analysis is said here before the first run: the primary measure, the
contrasts with the sign that is predicted, the smallest effect of interest, the thresholds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.bundle import NAME_PATTERN
from models.records import RecordError, record_from_dict
from training.errors import StudyError
from training.recipes.shipped import read_table, shipped_names
from training.studies.statistics.shapley import Switch
from training.studies.statistics.verdicts import Prediction

DESIGNS = Path(__file__).parent / "designs"

Patch = dict[str, Any]
Cell = tuple[tuple[str, str], ...]  # (factor, level) in the order of the factors


@dataclass(frozen=True)
class CellRule:
    """What a preset says of some cells alone: those whose levels are these."""

    where: dict[str, str]
    set: Patch = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Preset:
    """One size of a study."""

    epochs: int
    seeds: tuple[int, ...]
    set: Patch = field(default_factory=dict)
    note: str = ""  # what this size can and cannot show; said in every caption
    cells: tuple[CellRule, ...] = ()


@dataclass(frozen=True)
class ContrastDesign:
    """A difference of cells: the mean of those that `plus` selects less that of `minus`.

    Several selections on a side are added up, each its own mean: an interaction is the difference
    of two differences. `predicted` is the sign that was expected before the runs, `=` no effect
    that matters.
    """

    name: str
    plus: tuple[dict[str, str], ...]
    minus: tuple[dict[str, str], ...]
    predicted: Prediction = "="
    measure: str = ""  # the study's primary one by default
    exploratory: bool = False  # outside the family that Holm's correction covers


@dataclass(frozen=True)
class AttributionDesign:
    """Which switch contributed how much to the gap between two cells (Shapley values)."""

    start: dict[str, str]
    switches: tuple[Switch, ...]


@dataclass(frozen=True)
class MeanClaim:
    """The mean of `measure` over the runs of the selected cells lies from `low` to `high`."""

    where: dict[str, str]
    measure: str
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class ArrivalClaim:
    """The runs of the selected cells reach the accuracy `threshold` within so many epochs.

    With `single` it is enough that one epoch does, as a source counts that looks at one run.
    """

    where: dict[str, str]
    threshold: float
    within: float  # epochs
    single: bool = False


@dataclass(frozen=True)
class ClaimDesign:
    """A published claim, and what tests it: a contrast by its name, a mean, or an arrival."""

    text: str
    source: str
    contrast: str = ""
    mean: MeanClaim | None = None
    arrival: ArrivalClaim | None = None
    epochs: int = 0  # a shorter run does not test it
    predicted: Prediction | None = None  # the claim's own sign, where the study predicts another
    reads: str = ""  # how the test stands for the claim, where that is not obvious


@dataclass(frozen=True)
class Study:
    """A question, and everything that decides how it is answered."""

    name: str
    title: str
    question: str
    base: str  # recipe
    factors: dict[str, dict[str, Patch]]
    primary: str  # measure
    presets: dict[str, Preset]
    set: Patch = field(default_factory=dict)  # of every run
    exclude: tuple[dict[str, str], ...] = ()  # cells that nobody asks for
    smallest: float = 0.01  # effect of interest, in units of the primary measure
    thresholds: tuple[float, ...] = ()  # accuracies to be reached
    contrasts: tuple[ContrastDesign, ...] = ()
    attribution: AttributionDesign | None = None
    claims: tuple[ClaimDesign, ...] = ()
    figures: tuple[str, ...] = ()
    stopping: str = "fixed number of seeds; a run that diverged counts as chance"

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise StudyError(f"name {self.name!r} must be lower-case words joined by -")
        for complaint in self._contradictions():
            raise StudyError(f"study {self.name!r}: {complaint}")

    def _contradictions(self) -> Iterator[str]:
        if not self.factors or not all(self.factors.values()):
            yield "it needs at least one factor, and each factor at least one level"
        if not self.presets:
            yield "it needs at least one preset; write [presets.cpu] with epochs and seeds"
        for preset_name, preset in self.presets.items():
            if preset.epochs < 1 or not preset.seeds:
                yield f"presets.{preset_name} needs epochs of at least 1 and at least one seed"
            if len(set(preset.seeds)) < len(preset.seeds):
                yield f"presets.{preset_name}.seeds = {list(preset.seeds)} has one of them twice"
        for where, selection in self._selections():
            for factor, level in selection.items():
                if factor not in self.factors:
                    known = ", ".join(self.factors)
                    yield f"{where} names the factor {factor!r}; there are {known}"
                elif level not in self.factors[factor]:
                    known = ", ".join(self.factors[factor])
                    yield f"{where} names the level {level!r} of {factor!r}; it has {known}"
        cells = self.cells()
        for contrast in self.contrasts:
            for selection in (*contrast.plus, *contrast.minus):
                if not any(selects(selection, cell) for cell in cells):
                    yield f"contrast {contrast.name!r}: no cell has {selection}"
        names = [contrast.name for contrast in self.contrasts]
        for claim in self.claims:
            if [bool(claim.contrast), bool(claim.mean), bool(claim.arrival)].count(True) != 1:
                yield f"claim {claim.text!r} needs one of contrast, mean and arrival"
            if claim.contrast and claim.contrast not in names:
                yield f"claim {claim.text!r}: there is no contrast {claim.contrast!r}"

    def _selections(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        for selection in self.exclude:
            yield "exclude", selection
        for contrast in self.contrasts:
            for selection in (*contrast.plus, *contrast.minus):
                yield f"contrast {contrast.name!r}", selection
        for name, preset in self.presets.items():
            for rule in preset.cells:
                yield f"presets.{name}.cells", rule.where
        for claim in self.claims:
            for tested in (claim.mean, claim.arrival):
                if tested:
                    yield f"claim {claim.text!r}", tested.where
        if self.attribution:
            yield "attribution.start", self.attribution.start
            for switch in self.attribution.switches:
                yield f"attribution, {switch.name!r}", {switch.factor: switch.level}

    def cells(self) -> list[Cell]:
        """Return every combination of levels that is not excluded."""
        axes = [[(factor, level) for level in levels] for factor, levels in self.factors.items()]
        return [
            cell
            for cell in itertools.product(*axes)
            if not any(selects(selection, cell) for selection in self.exclude)
        ]

    def preset(self, name: str) -> Preset:
        """Return a preset by its name.

        Raises:
            StudyError: the study has no such preset.
        """
        if name not in self.presets:
            raise StudyError(
                f"study {self.name!r} has no preset {name!r}; take one of {', '.join(self.presets)}"
            )
        return self.presets[name]


def selects(selection: Mapping[str, str], cell: Cell) -> bool:
    """Return whether a cell has all the levels of a selection."""
    levels = dict(cell)
    return all(levels.get(factor) == level for factor, level in selection.items())


def available_studies() -> list[str]:
    """Return the names of the studies that ship, sorted."""
    return shipped_names(DESIGNS)


def load_study(name_or_path: str) -> Study:
    """Read a study that ships by its name, or any study by its path.

    Raises:
        StudyError: there is none, it is not TOML, or a key or value is wrong.
    """
    table, path = read_table(name_or_path, DESIGNS, "study", StudyError)
    try:
        return record_from_dict(Study, table, str(path))
    except RecordError as exc:
        raise StudyError(str(exc)) from exc
