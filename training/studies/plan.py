"""The runs of a study: which recipe each has, and the name of its folder.

A run is named by what decides its weights: two studies that ask for the same run share it, and a
run of more epochs contains the shorter one wherever no schedule depends on their number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from training.data.cifar10 import (
    IMAGE_SHAPE,
    IMAGES_PER_FILE,
    LABELS,
    PUBLISHED_MD5,
    TRAIN_FILES,
)
from training.data.selection import require_selectable
from training.errors import RecipeError, StudyError
from training.recipes import Recipe, load_recipe, patched
from training.studies.design import Cell, CellRule, Preset, Study, selects
from training.trainer.device import choose_precision
from training.trainer.loop import TRAINER_VERSION
from training.trainer.networks import check_fits, network_of
from training.trainer.probes.statistics import batch_norms

TRAINING_IMAGES = IMAGES_PER_FILE * len(TRAIN_FILES)
DIGITS = 12  # of a run's name


@dataclass(frozen=True, eq=False)  # a key of tables: each is itself alone
class PlannedRun:
    """One run of a study: a cell, a seed, and the recipe that both make."""

    study: str
    preset: str
    cell: Cell
    recipe: Recipe  # with its seed, its epochs and the precision that is really used

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.recipe.seed

    @property
    def identity(self) -> str:
        """What decides the weights of the run, in `DIGITS` hexadecimal digits."""
        return run_identity(self.recipe)

    @property
    def folder(self) -> str:
        """The name of the run's folder: its identity, and what it measures on the way."""
        return f"{self.identity}-{_digest(asdict(self.recipe.probes))[:4]}"


def run_identity(recipe: Recipe) -> str:
    """Return the name of a run: a hash of its recipe, its data and the version of the trainer.

    Titles, probes and, where nothing is bound to them, epochs are not in it, nor is where it runs.
    What a recipe leaves at its default is not either: a new option does not rename old runs, and a
    default that is changed raises `TRAINER_VERSION`.
    """
    table = _chosen(recipe)
    for key in ("name", "title", "probes", *(() if recipe.bound_to_epochs else ("epochs",))):
        table.pop(key, None)
    return _digest({"recipe": table, "data": PUBLISHED_MD5, "trainer": TRAINER_VERSION})[:DIGITS]


def training_images(recipe: Recipe) -> int:
    """Return how many images of CIFAR-10 an epoch of the recipe has."""
    return recipe.data.images or TRAINING_IMAGES - recipe.data.held_out


def steps_per_epoch(recipe: Recipe) -> int:
    """Return how many steps an epoch of the recipe has."""
    images = training_images(recipe)
    if recipe.data.order == "shuffled":
        return math.ceil(images / recipe.batch_size)
    return len(LABELS) * math.ceil(images / len(LABELS) / recipe.batch_size)


def plan_study(study: Study, preset_name: str, device: torch.device) -> list[PlannedRun]:
    """Return the runs of a study, seed by seed, so that one that is stopped is still balanced.

    Raises:
        StudyError: no such preset, or a patch makes no recipe, or one that does not fit CIFAR-10.
    """
    preset = study.preset(preset_name)
    recipes = {cell: _recipe(study, preset, cell, device) for cell in study.cells()}
    runs = [
        PlannedRun(study.name, preset_name, cell, replace(recipe, seed=seed))
        for cell, recipe in recipes.items()
        for seed in _seeds(preset, cell)
    ]
    position = {seed: index for index, seed in enumerate(preset.seeds)}
    return sorted(runs, key=lambda run: position.get(run.seed, len(position)))  # stable


def registered_design(study: Study, preset_name: str, device: torch.device) -> dict[str, Any]:
    """Return all that a study decides before its first run, as plain JSON values.

    Without what it leaves at its default, so that a new option is no change of old designs.
    """
    runs = plan_study(study, preset_name, device)
    design = {key: value for key, value in _chosen(study).items() if key != "presets"}
    preset = _chosen(study.preset(preset_name))
    table = {"study": design, "preset": preset, "runs": sorted(run.identity for run in runs)}
    plain: dict[str, Any] = json.loads(json.dumps(table))  # tuples become lists
    return plain


def design_hash(design: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a registered design."""
    return _digest(design)


def _recipe(study: Study, preset: Preset, cell: Cell, device: torch.device) -> Recipe:
    """Return the recipe of a cell, its seed still to be set."""
    where = f"study {study.name!r}, {', '.join(level for _, level in cell)}"
    try:
        recipe = load_recipe(study.base)
        levels = [study.factors[factor][level] for factor, level in cell]
        rules = [rule.set for rule in _rules(preset, cell)]
        for patch in (study.set, {"epochs": preset.epochs}, preset.set, *levels, *rules):
            recipe = patched(recipe, patch, where)
        check_fits(recipe, IMAGE_SHAPE, LABELS)
        require_selectable(recipe.data, TRAINING_IMAGES, len(LABELS))
        _require_reached(recipe)
        precise = study.primary.startswith("precise") and has_batch_norm(recipe)
        if precise and not recipe.probes.precise_bn:
            raise RecipeError(
                f"{study.primary} needs probes.precise_bn of a network with batch norm; write "
                "probes.precise_bn = 2_000 under [set]"
            )
    except RecipeError as exc:
        reason = str(exc).removeprefix(f"{where}: ")  # where the table itself was read
        raise StudyError(f"{where}: {reason}") from exc
    precision = str(choose_precision(None, recipe, device)).removeprefix("torch.")
    name = "-".join((study.name, *(level for _, level in cell)))
    return replace(recipe, name=_word(name), precision=precision)  # type: ignore[arg-type]


def has_batch_norm(recipe: Recipe) -> bool:
    """Return whether the recipe's network has a batch norm."""
    with torch.device("meta"):
        network = network_of(recipe)
    return bool(batch_norms(network))


def _require_reached(recipe: Recipe) -> None:
    """Refuse a point to measure at that no step of the run is, and runs of no certain length."""
    if recipe.patience:
        raise RecipeError(
            f"patience = {recipe.patience} must be 0: the runs of a study have the same epochs"
        )
    most = steps_per_epoch(recipe) * recipe.epochs
    for name, point in recipe.probes.points.items():
        if not 1 <= point <= most:
            raise RecipeError(
                f"probes.points.{name} = {point} must be a step of the run, from 1 to {most}"
            )


def _rules(preset: Preset, cell: Cell) -> list[CellRule]:
    return [rule for rule in preset.cells if selects(rule.where, cell)]


def _seeds(preset: Preset, cell: Cell) -> tuple[int, ...]:
    chosen = [rule.seeds for rule in _rules(preset, cell) if rule.seeds is not None]
    return chosen[-1] if chosen else preset.seeds


def _word(name: str) -> str:
    """Return a name of lower-case words joined by -."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(word for word in letters.split("-") if word)


def _chosen(record: Any) -> dict[str, Any]:
    """Return the values of a dataclass that are not its defaults, as plain values."""
    table = {}
    for entry in fields(record):
        value = getattr(record, entry.name)
        factory = entry.default_factory
        default = entry.default if factory is MISSING else factory()
        if value != default:
            table[entry.name] = _plain(value)
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return _chosen(value) if is_dataclass(value) else value


def _digest(table: Mapping[str, Any]) -> str:
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
