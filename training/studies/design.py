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
from training.studies.statistics.cells import cell_of
from training.studies.statistics.contrasts import weighed_cells
from training.studies.statistics.scores import ACCURACIES, is_measure, score_of_chance, unit_of
from training.studies.statistics.shapley import Switch, attribute
from training.studies.statistics.verdicts import Prediction

DESIGNS = Path(__file__).parent / "designs"
MAX_EPOCHS = 100_000
# Columns of the tables beside factors and measures.
RESERVED = frozenset(
    (
        "study",
        "run",
        "seed",
        "preset",
        "status",
        "epochs",
        "precision",
        "device",
        "torch",
        "started",
    )
)
# The figures that a design may name, with the factors that each is drawn over.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "attribution": (),
    "cells": (),
    "crossings": (),
    "forest": (),
    "gaps": ("norm", "batch"),
    "landscape": ("norm", "rate"),
    "learning-curves": (),
    "percentiles": ("norm", "rate"),
    "rates": ("norm", "rate"),
    "slopes": ("norm",),
    "statistics": (),
}

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
    smallest_share: float = 0.0  # smallest effect as a share of the mean of `minus`; 0: the study's
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
    """A published claim, and what tests it: a contrast by its name, a mean, or an arrival.

    With a contrast and a mean both must hold, as where an advantage counts only if it trains.
    """

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
        for factor in self.factors:
            if factor in RESERVED or is_measure(factor):
                yield f"the factor {factor!r} is called as a column of rows.csv; rename it"
        if not self.presets:
            yield "it needs at least one preset; write [presets.cpu] with epochs and seeds"
        for preset_name, preset in self.presets.items():
            if not 1 <= preset.epochs <= MAX_EPOCHS:
                yield f"presets.{preset_name}.epochs = {preset.epochs} must be 1 to {MAX_EPOCHS:,}"
            for seeds in (preset.seeds, *(rule.seeds for rule in preset.cells)):
                if seeds is not None and not seeds:
                    yield f"presets.{preset_name} has seeds = []; at least one is needed"
                if seeds is not None and len(set(seeds)) < len(seeds):
                    yield f"presets.{preset_name} has a seed twice in {list(seeds)}"
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
        yield from self._measures_unknown()
        yield from self._claims_untestable()

    def _measures_unknown(self) -> Iterator[str]:
        """Yield what is wrong with measures, thresholds, figures and smallest effects."""
        if not is_measure(self.primary) or score_of_chance(self.primary) is None:
            some = ", ".join(ACCURACIES)
            yield (
                f"primary = {self.primary!r} is no measure that a diverged run scores chance in; "
                f"take {some}, or train_test_gap_at_ and a point"
            )
        if not (math.isfinite(self.smallest) and self.smallest > 0):
            yield f"smallest = {self.smallest} must be a number above 0"
        for threshold in self.thresholds:
            if not 0 < threshold < 1:
                yield f"thresholds has {threshold}; accuracies are shares, above 0 and below 1"
        for name in self.figures:
            if name not in FIGURES:
                yield f"figures names {name!r}; there are {', '.join(FIGURES)}"
            elif missing := [one for one in FIGURES[name] if one not in self.factors]:
                yield f"the figure {name!r} needs the factor {missing[0]!r}"
        names = [contrast.name for contrast in self.contrasts]
        for contrast in self.contrasts:
            where = f"contrast {contrast.name!r}"
            if names.count(contrast.name) > 1:
                yield f"{where} is there twice; give each a name of its own"
            measure = contrast.measure or self.primary
            if not is_measure(measure):
                yield f"{where}: there is no measure {measure!r}"
            if contrast.smallest_share < 0 or not math.isfinite(contrast.smallest_share):
                yield f"{where}: smallest_share = {contrast.smallest_share} must be 0 or above"
            if unit_of(measure) != unit_of(self.primary) and not contrast.smallest_share:
                yield (
                    f"{where} is of another unit than {self.primary}; write smallest_share, such "
                    "as 0.1 for a tenth of the mean of minus"
                )
            try:
                weighed_cells(self.weights(contrast))
            except ValueError as exc:
                yield f"{where}: {exc}; name as many selections in plus as in minus"
        if self.attribution:
            try:
                attribute(self.attribution.start, self.attribution.switches)
            except ValueError as exc:
                yield f"attribution: {exc}"

    def _claims_untestable(self) -> Iterator[str]:
        names = [contrast.name for contrast in self.contrasts]
        for claim in self.claims:
            where = f"claim {claim.text!r}"
            if bool(claim.arrival) == bool(claim.contrast or claim.mean):
                yield f"{where} needs a contrast, a mean or both, or else an arrival"
            if claim.contrast and claim.contrast not in names:
                yield f"{where}: there is no contrast {claim.contrast!r}"
            if claim.mean and not is_measure(claim.mean.measure):
                yield f"{where}: there is no measure {claim.mean.measure!r}"
            if claim.mean and not claim.mean.low <= claim.mean.high:
                yield f"{where}: low = {claim.mean.low} must be at most high = {claim.mean.high}"
            if claim.mean and math.isinf(claim.mean.low) and math.isinf(claim.mean.high):
                yield f"{where} needs low, high or both: any mean would fulfil it"
            if claim.arrival and claim.arrival.threshold not in self.thresholds:
                yield f"{where}: {claim.arrival.threshold} is none of the study's thresholds"

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

    def weights(self, contrast: ContrastDesign) -> dict[Cell, float]:
        """Return the weight of each cell in a contrast, the cell's factors sorted by name."""
        weights: dict[Cell, float] = {}
        for sign, selections in ((1.0, contrast.plus), (-1.0, contrast.minus)):
            for selection in selections:
                chosen = [cell for cell in self.cells() if selects(selection, cell)]
                for cell in chosen:
                    key = cell_of(dict(cell))
                    weights[key] = weights.get(key, 0.0) + sign / len(chosen)
        return weights

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
