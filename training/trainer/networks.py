"""The network that a recipe names, and whether it fits the dataset."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.networks import Network, build_network
from training.errors import CheckpointError, RecipeError
from training.recipes.recipe import Recipe, recipe_from_dict
from training.trainer.checkpoint import Checkpoint


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


def class_count(recipe: Recipe, image_shape: tuple[int, ...]) -> int:
    """Return how many logits the recipe's network gives for an image (H, W, C)."""
    height, width, channels = image_shape
    with torch.device("meta"):  # only shapes are computed
        network = network_of(recipe).eval()
        logits = network(torch.zeros(1, channels, height, width))  # (1, classes)
    return int(logits.shape[1])


def network_from_checkpoint(checkpoint: Checkpoint) -> tuple[torch.nn.Module, Recipe]:
    """Return the network of a checkpoint in inference mode, and its recipe."""
    recipe = recipe_from_dict(checkpoint.recipe, "the checkpoint's recipe")
    network = network_of(recipe)
    try:
        network.load_state_dict(checkpoint.network)
    except RuntimeError as exc:
        raise CheckpointError(f"the checkpoint's weights do not fit its recipe: {exc}") from exc
    return network.eval(), recipe
