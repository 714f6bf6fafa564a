"""Recipes: everything that decides a training run, as data.

A recipe is a TOML file in `training/recipes/` (or any path) read into frozen dataclasses. A key
that no dataclass has is an error (`models.records`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from models.bundle import NAME_PATTERN
from models.records import RecordError, record_from_dict
from training.errors import RecipeError
from training.recipes.limits import (
    Decay,
    EndOfShare,
    InnerShare,
    Pixels,
    Range,
    Seed,
    Share,
    ShareBelowOne,
    complaints,
)
from training.recipes.optimizers import AdamRecipe, GroupedRecipe, PlainSgdRecipe, RmspropRecipe
from training.recipes.shipped import read_table, shipped_names

RECIPES = Path(__file__).parent

Precision = Literal["float32", "bfloat16", "auto"]


@dataclass(frozen=True)
class NetworkRecipe:
    """Which definition of `models.networks`, or `my_package.nets:build`, and its options."""

    architecture: str
    options: dict[str, bool | int | float | str | tuple[int, ...] | tuple[float, ...]] = field(
        default_factory=dict
    )


@dataclass(frozen=True)
class AugmentationRecipe:
    """What is drawn for each image; nothing by default.

    `max_shift`, a fraction of the side, and `flip_probability` are Keras': real-valued shifts,
    mirrored by a coin in every epoch; `interpolation` is bilinear as in Keras since 2.1.4, or takes
    the nearest whole pixel. The others are whole pixels and shares:
    a crop moved by up to `crop` pixels, `alternating_flip` (a coin for the first epoch, then
    mirrored in every other one), brightness and contrast changed by up to these shares, and a
    square of `cutout` pixels filled with the mean colour.
    """

    max_shift: ShareBelowOne = 0.0
    flip_probability: Share = 0.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    crop: Pixels = 0
    alternating_flip: bool = False
    brightness: Share = 0.0
    contrast: Share = 0.0
    cutout: Pixels = 0

    @property
    def interpolates(self) -> bool:
        """Whether images are shifted and mirrored as Keras does."""
        return bool(self.max_shift or self.flip_probability)

    @property
    def gathers(self) -> bool:
        """Whether images are cropped and mirrored by whole pixels."""
        return bool(self.crop or self.alternating_flip)


@dataclass(frozen=True)
class ResolutionStage:
    """Images are shrunk to `side` pixels until that share of the run is over."""

    side: Annotated[int, Range(16, example=24)]  # the networks take no smaller images
    until: EndOfShare


@dataclass(frozen=True)
class AveragingRecipe:
    """A second set of weights, pulled towards the trained ones every few steps.

    `lookahead` sets the trained weights back to it each time, and its pull weakens over the run;
    `ema` only watches and takes over at the end.
    """

    kind: Literal["lookahead", "ema"]
    every: Annotated[int, Range(1, 1_000_000, example=5)] = 5  # steps
    decay: InnerShare = 0.95  # of the old average, per step


@dataclass(frozen=True)
class DataRecipe:
    """Which training images, and in which order.

    A folder of one's own images has them resized to `size` by `size` pixels, as serving does.
    Where it states no split, `test_share` of each class is tested on, drawn by `test_seed`;
    `damaged` files are refused, or skipped and counted. CIFAR-10 needs none of these.

    First `held_out` images, the same number of each class, are set aside by `split_seed`: they are
    measured after every epoch and never trained on. Of the others `images` are trained on, again
    the same number of each class; 0 is all of them. `test_images` measures on the first of the
    test images alone, for a try: no result.
    """

    size: Annotated[int, Range(8, 1_024, example=32)] = 32  # pixels
    test_share: InnerShare = 0.2
    test_seed: Seed = 0
    damaged: Literal["refuse", "skip"] = "refuse"
    images: Annotated[int, Range(0, 50_000, example=10_000)] = 0
    held_out: Annotated[int, Range(0, 49_990, example=5_000)] = 0
    split_seed: Seed = 0
    test_images: Annotated[int, Range(0, 10_000, example=1_000)] = 0
    # The batches of an epoch hold images of all classes, or each of one class alone.
    order: Literal["shuffled", "by-class"] = "shuffled"


@dataclass(frozen=True)
class ProbesRecipe:
    """What is measured beside a training, without changing it; nothing by default.

    `precise_bn` measures the test accuracy after every epoch once more with statistics estimated
    anew on that many training images; `layers` and `landscape` are measured before steps
    0, 1, 2, 4, … and then every `every` steps, on `images` un-augmented training images.
    """

    precise_bn: Annotated[int, Range(0, 50_000, example=2_000)] = 0  # training images
    layers: bool = False  # percentiles, saturation, dead units, gradient norms
    landscape: bool = False  # loss along the gradient, its predictiveness, effective smoothness
    # After every epoch: PreciseBN by number of images, other momenta, what neighbours change.
    statistics: bool = False
    # Steps after which train and test accuracy of un-augmented images are measured, by a name.
    points: dict[str, int] = field(default_factory=dict)
    images: Annotated[int, Range(2, 10_000, example=256)] = 256
    every: Annotated[int, Range(1, 1_000_000, example=500)] = 500  # steps


@dataclass(frozen=True)
class Recipe:
    """One training run, but for its seed override and its device."""

    name: str
    title: str
    epochs: Annotated[int, Range(1, 1_000_000, example=50)]
    batch_size: Annotated[int, Range(2, 50_000, example=500)]
    seed: Seed
    network: NetworkRecipe
    optimizer: RmspropRecipe | AdamRecipe | PlainSgdRecipe | GroupedRecipe
    augmentation: AugmentationRecipe = AugmentationRecipe()
    data: DataRecipe = DataRecipe()
    probes: ProbesRecipe = ProbesRecipe()
    # Epochs without a better held-out accuracy after which the run ends; 0 for never.
    patience: Annotated[int, Range(0, 1_000_000, example=10)] = 0
    gradient_clip: Decay = 0.0  # largest norm of all gradients together; 0 for none
    # Of the softmax inside the loss; Keras clips at 1e-7.
    probability_clip: Annotated[float, Range(0, 0.5, "high", example=1e-7)] = 0.0
    label_smoothing: ShareBelowOne = 0.0
    curriculum: tuple[ResolutionStage, ...] = ()  # full size after the last stage
    averaging: AveragingRecipe | None = None
    recalibrate: bool = False  # the statistics of the batch norms, after the last step
    precision: Precision = "float32"  # of products; "auto": the fastest sound one of the device

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise RecipeError(f"name {self.name!r} must be lower-case words joined by -")
        for complaint in (*complaints(self), *self._contradictions()):
            raise RecipeError(f"recipe {self.name!r}: {complaint}")

    def _contradictions(self) -> Iterator[str]:
        """Yield what is sound by itself and not together."""
        optimizer, augmentation = self.optimizer, self.augmentation
        if optimizer.kind == "muon" and optimizer.filters.weight_decay:
            decay = optimizer.filters.weight_decay
            yield (
                f"optimizer.filters.weight_decay = {decay} must be 0: Muon keeps the norm of the "
                'filters; leave it out, or take kind = "sgd"'
            )
        if augmentation.interpolates and augmentation.gathers:
            yield (
                f"max_shift = {augmentation.max_shift} and flip_probability = "
                f"{augmentation.flip_probability} must be 0 with crop or alternating_flip; leave "
                "out the ones or the others"
            )
        if optimizer.kind == "plain-sgd" and optimizer.nesterov and not optimizer.momentum:
            yield (
                "optimizer.nesterov = true needs a momentum above 0; write momentum = 0.9, for "
                "example"
            )
        if self.label_smoothing and self.probability_clip:
            yield (
                f"label_smoothing = {self.label_smoothing} and probability_clip = "
                f"{self.probability_clip} do not go together, for the smoothed loss clips nothing; "
                "leave one of them out"
            )
        if self.patience and not self.data.held_out:
            yield (
                f"patience = {self.patience} needs images to look at; write data.held_out = 5_000, "
                "for example"
            )
        if self.patience and self.bound_to_epochs:
            yield (
                f"patience = {self.patience} must be 0 where a schedule, a curriculum, an average "
                "or recalibrate spans the epochs; leave it out, or these"
            )
        ends = [stage.until for stage in self.curriculum]
        if ends != sorted(set(ends)):
            yield f"curriculum ends at {ends}, which must rise; order the stages by until"

    def side_at(self, progress: float, full: int) -> int:
        """Return the side of the images at that share of the run, from 0 to 1."""
        return next((stage.side for stage in self.curriculum if progress < stage.until), full)

    @property
    def bound_to_epochs(self) -> bool:
        """Whether a longer run is another one from the first step on."""
        optimizer = self.optimizer
        scheduled = isinstance(optimizer, GroupedRecipe) or optimizer.schedule is not None
        return scheduled or bool(self.curriculum) or self.averaging is not None or self.recalibrate

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        return dataclasses.asdict(self)

    def to_toml(self) -> dict[str, Any]:
        """Return the recipe without what it leaves out, for which TOML has no word."""
        return _without_none(self.to_dict())


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def available_recipes() -> list[str]:
    """Return the names of the recipes that ship, sorted."""
    return shipped_names(RECIPES)


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe that ships by its name, or any recipe by its path.

    Raises:
        RecipeError: there is none, it is not TOML, or a key or value is wrong.
    """
    table, path = read_table(name_or_path, RECIPES, "recipe", RecipeError)
    return recipe_from_dict(table, str(path))


def recipe_from_dict(table: dict[str, Any], source: str) -> Recipe:
    """Build a recipe from plain values, refusing every unknown key.

    Raises:
        RecipeError: a key or value is wrong.
    """
    try:
        return record_from_dict(Recipe, table, source)
    except RecordError as exc:
        raise RecipeError(str(exc)) from exc
