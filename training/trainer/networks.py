"""The network that a recipe names, and whether it fits the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from models.networks import AirNet, KerasCnn, build_network, default_options
from training.data.seeds import Stream, stream_generator, stream_seed
from training.errors import RecipeError
from training.recipes import Recipe
from training.trainer.own_network import (
    build_own_network,
    names_own_network,
    own_class_count,
    own_options,
)


def network_of(recipe: Recipe) -> nn.Module:
    """Return the recipe's network, freshly constructed.

    Raises:
        RecipeError: there is no such architecture, or it has no such option.
    """
    architecture, options = recipe.network.architecture, recipe.network.options
    try:
        if names_own_network(architecture):
            return build_own_network(architecture, options)
        return build_network(architecture, options)
    except (ValueError, RecipeError) as exc:
        raise RecipeError(f"recipe {recipe.name!r}: {exc}") from exc


def initial_network(recipe: Recipe, seed: int) -> nn.Module:
    """Return the recipe's network with the seed's random weights.

    Raises:
        RecipeError: as of `network_of`.
    """
    if names_own_network(recipe.network.architecture):
        torch.manual_seed(stream_seed(seed, Stream.INITIALIZATION))
        return network_of(recipe)
    network = network_of(recipe)
    assert isinstance(network, AirNet | KerasCnn), "the networks that ship initialize themselves"
    network.initialize(stream_generator(seed, Stream.INITIALIZATION))
    return network


def fitted(recipe: Recipe, image_shape: tuple[int, ...], labels: Sequence[str]) -> Recipe:
    """Return the recipe with the options that follow from a dataset, where it leaves them out.

    These are the number of classes and the size of the images (H, W, C). A network that ships and
    suits the dataset by its defaults, as CIFAR-10 is suited, leaves the recipe as it is.

    Raises:
        RecipeError: there is no such network.
    """
    architecture, chosen = recipe.network.architecture, recipe.network.options
    options: dict[str, int | tuple[int, ...]]
    if names_own_network(architecture):
        options = own_options(architecture, len(labels), image_shape)
    else:
        network_of(recipe)  # refuses an unknown architecture
        defaults = default_options(architecture)
        known = {"num_classes": len(labels), "side": image_shape[0]}
        options = {
            key: value for key, value in known.items() if key in defaults and defaults[key] != value
        }
    left_out = {key: value for key, value in options.items() if key not in chosen}
    if not left_out:
        return recipe
    return replace(recipe, network=replace(recipe.network, options={**chosen, **left_out}))


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
    try:
        classes = class_count(recipe, image_shape)
    except RuntimeError as exc:  # a pool that has nothing left
        raise RecipeError(
            f"recipe {recipe.name!r}: its network takes no images of {height} by {width} pixels "
            f"({str(exc).splitlines()[0]}); choose a larger data.size, or another network"
        ) from exc
    if classes != len(labels):
        raise RecipeError(
            f"recipe {recipe.name!r}: its network has {classes} classes, and the dataset has "
            f"{len(labels)} labels; write num_classes = {len(labels)} in the network's options, or "
            "leave it out, and train again"
        )
    for key, smaller in stages.items():
        try:
            class_count(recipe, (smaller, smaller, image_shape[2]))
        # A dense layer that counts on the images' own size.
        except (RuntimeError, RecipeError) as exc:
            raise RecipeError(
                f"recipe {recipe.name!r}: {key} = {smaller} must be {side}, since its network "
                "takes no smaller images; leave the curriculum out, or take another network"
            ) from exc


def class_count(recipe: Recipe, image_shape: tuple[int, ...]) -> int:
    """Return how many logits the recipe's network gives for an image (H, W, C)."""
    architecture = recipe.network.architecture
    if names_own_network(architecture):
        return own_class_count(network_of(recipe), architecture, image_shape)
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
