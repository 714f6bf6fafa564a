"""A recipe is held to the dataset before anything is computed."""

import re
from dataclasses import replace

import pytest

from training.data.cifar10 import IMAGE_SHAPE, LABELS
from training.errors import RecipeError
from training.recipes.recipe import ResolutionStage, available_recipes, load_recipe
from training.trainer.networks import check_fits, class_count


@pytest.mark.parametrize("name", available_recipes())
def test_every_recipe_that_ships_fits(name):
    check_fits(load_recipe(name), IMAGE_SHAPE, LABELS)


@pytest.mark.parametrize("name", ["air-tiny", "keras-bn"])
@pytest.mark.parametrize("classes", [5, 100])
def test_another_number_of_classes_is_refused_with_both_numbers_and_the_remedy(name, classes):
    recipe = load_recipe(name)
    options = {**recipe.network.options, "num_classes": classes}
    wrong = replace(recipe, network=replace(recipe.network, options=options))
    assert class_count(wrong, IMAGE_SHAPE) == classes
    with pytest.raises(
        RecipeError,
        match=f"{name}': its network has {classes} classes, .* 10 labels; write num_classes = 10",
    ):
        check_fits(wrong, IMAGE_SHAPE, LABELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 32}, "augmentation.crop = 32 must be at most 31, since the images have 32 by 32"),
        ({"cutout": 33}, "augmentation.cutout = 33 must be at most 32"),
        ({"side": 33}, "curriculum[0].side = 33 must be at most 32"),
    ],
)
def test_what_is_larger_than_the_images_is_refused(changes, message):
    recipe = load_recipe("air-tiny")
    if "side" in changes:
        wrong = replace(recipe, curriculum=(ResolutionStage(changes["side"], 0.5),))
    else:
        wrong = replace(recipe, augmentation=replace(recipe.augmentation, **changes))
    with pytest.raises(RecipeError, match=re.escape(message)):
        check_fits(wrong, IMAGE_SHAPE, LABELS)
