"""Which training images a recipe takes, and the order of an epoch's batches."""

from __future__ import annotations

from typing import Literal

import torch

from training.data.cifar10 import Split, stratified_split
from training.errors import RecipeError
from training.recipes.recipe import DataRecipe


def require_selectable(recipe: DataRecipe, images: int, classes: int) -> None:
    """Refuse a number of images that cannot be dealt out evenly over so many classes.

    Raises:
        RecipeError: `data.held_out` or `data.images` is no multiple of `classes`, or too large.
    """
    left = images - recipe.held_out
    limits = {
        "data.held_out": (recipe.held_out, images - classes),
        "data.images": (recipe.images or 0, left),
    }
    for key, (value, most) in limits.items():
        if value % classes or value > most:
            raise RecipeError(
                f"{key} = {value} must be a multiple of {classes}, the number of classes, and at "
                f"most {most}"
            )


def select(train: Split, recipe: DataRecipe) -> tuple[Split, Split | None]:
    """Return the images to train on and those held out, if any.

    Raises:
        DataError: the images cannot be dealt out evenly over the classes, or there are too few.
    """
    held_out = None
    if recipe.held_out:
        train, held_out = stratified_split(train, recipe.held_out, recipe.split_seed)
    if recipe.images and recipe.images != len(train):
        _, train = stratified_split(train, recipe.images, recipe.split_seed)
    return train, held_out


def epoch_batches(
    labels: torch.Tensor,
    batch_size: int,
    order: Literal["shuffled", "by-class"],
    generator: torch.Generator,
) -> list[torch.Tensor]:
    """Return an epoch's batches of indices, each (B,) int64 on the CPU, drawn from `generator`.

    Shuffled, the last batch may be smaller, as in Keras; by class, the last one of each class, and
    the batches come in random order. labels (N,) int64 on any device.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    if order == "shuffled":
        return list(shuffled.split(batch_size))
    classes = labels.cpu()[shuffled]
    batches = [
        batch
        for label in classes.unique()
        for batch in shuffled[classes == label].split(batch_size)
    ]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]
