"""The network that a recipe names, and whether it fits the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.networks import Network, build_network
from training.errors import RecipeError
from training.recipes import Recipe


def network_of(recipe: Recipe) -> Network:
    """Return the recipe's network, freshly constructed.

    Raises:
        RecipeError: there is no such architecture, or it has no such option.
    """
    try:
        return build_network(recipe.network.architecture, recipe.network.options)
    except ValueError as exc:
        raise RecipeError(f"recipe {recipe.name!r}: {exc}") from exc


def check_fits(recipe: Recipe, image_shape: tuple[int, ...], labels: Sequence[str]) -> None:
    """Refuse a recipe for another dataset than one of images (H, W, C) with these labels.

    Raises:
        RecipeError: a crop, a cutout or a stage is larger than the images, or the network has
            another number of classes than there are labels.
    """
    height, width, _ = image_shape
    side = min(height, width)
    stages = {f"curriculum[{n}].side": stage.side for n, stage in enumerate(recipe.curriculum)}
    maxima = {
        "augmentation.crop": (recipe.augmentation.crop, side - 1),
        "augmentation.cutout": (recipe.augmentation.cutout, side),
        **{key: (value, side) for key, value in stages.items()},
    }
    for key, (value, most) in maxima.items():
        if value > most:
            raise RecipeError(
                f"recipe {recipe.name!r}: {key} = {value} must be at most {most}, since the images "
                f"have {height} by {width} pixels; write a smaller one"
            )
    classes = class_count(recipe, image_shape)
    if classes != len(labels):
        raise RecipeError(
            f"recipe {recipe.name!r}: its network has {classes} classes, and the dataset has "
            f"{len(labels)} labels; write num_classes = {len(labels)} in the network's options, or "
            "leave it out, and train again"
        )
    for key, smaller in stages.items():
        try:
            class_count(recipe, (smaller, smaller, image_shape[2]))
        except RuntimeError as exc:  # a dense layer that counts on the images' own size
            raise RecipeError(
                f"recipe {recipe.name!r}: {key} = {smaller} must be {side}, since its network "
                "takes no smaller images; leave the curriculum out, or take another network"
            ) from exc


def class_count(recipe: Recipe, image_shape: tuple[int, ...]) -> int:
    """Return how many logits the recipe's network gives for an image (H, W, C)."""
    height, width, channels = image_shape
    with torch.device("meta"):  # only shapes are computed
        network = network_of(recipe).eval()
        logits = network(torch.zeros(1, channels, height, width))  # (1, classes)
    return int(logits.shape[1])


def check_batches(
    recipe: Recipe, network: torch.nn.Module, sizes: Sequence[int], processes: int
) -> None:
    """Refuse what would fail amid a run: a share too small, an average that is never taken.

    `sizes` are the images in each batch of an epoch.

    Raises:
        RecipeError: a process gets no image of the smallest batch, or a single one that a batch
            norm over no positions cannot normalize, or the run has fewer steps than
            `averaging.every`.
    """
    over_one = any(isinstance(module, torch.nn.BatchNorm1d) for module in network.modules())
    least, images = 2 if over_one else 1, sum(sizes)
    if min(sizes) // processes < least:
        among = f" for {processes} processes" if processes > 1 else ""
        needs = f"{least} images for its batch norms" if over_one else "an image"
        raise RecipeError(
            f"recipe {recipe.name!r}: batch_size = {recipe.batch_size} leaves a batch of "
            f"{min(sizes)} of the {images:,} images{among}, and each process needs {needs}; "
            "choose a batch_size that leaves more, or another number of images"
        )
    steps = recipe.epochs * len(sizes)
    if recipe.averaging and recipe.averaging.every > steps:
        raise RecipeError(
            f"recipe {recipe.name!r}: averaging.every = {recipe.averaging.every:,} must be at most "
            f"{steps:,}, the steps of the whole run, or no average is ever taken; write a smaller "
            "one"
        )
