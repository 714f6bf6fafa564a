"""A recipe is held to the dataset before anything is computed."""

import re
from dataclasses import replace

import pytest

from training.data.cifar10 import IMAGE_SHAPE, LABELS
from training.errors import RecipeError
from training.recipes.recipe import AveragingRecipe, ResolutionStage, available_recipes, load_recipe
from training.trainer.networks import check_batches, check_fits, class_count, fitted, network_of


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


def test_a_curriculum_is_refused_where_the_network_takes_one_size_alone():
    recipe = load_recipe("keras-bn")
    wrong = replace(recipe, curriculum=(ResolutionStage(24, 0.5),))
    with pytest.raises(RecipeError, match=r"curriculum\[0\].side = 24 must be 32"):
        check_fits(wrong, IMAGE_SHAPE, LABELS)


@pytest.mark.parametrize(
    ("name", "sizes", "processes", "message"),
    [
        ("keras-bn", [32, 1], 1, "leaves a batch of 1 of the 33 images, and each process needs 2"),
        ("keras-bn", [32, 3], 2, "leaves a batch of 3 of the 35 images for 2 processes"),
        ("keras-baseline", [32, 1], 2, "and each process needs an image;"),
        ("air94", [500, 2], 3, "and each process needs an image;"),
    ],
)
def test_a_batch_too_small_to_share_is_refused(name, sizes, processes, message):
    recipe = load_recipe(name)
    with pytest.raises(RecipeError, match=message):
        check_batches(recipe, network_of(recipe), sizes, processes)


@pytest.mark.parametrize(
    ("name", "sizes", "processes"),
    [("keras-bn", [32, 2], 1), ("keras-baseline", [32, 1], 1), ("air94", [500, 1], 1)],
)
def test_a_batch_that_is_just_large_enough_is_not(name, sizes, processes):
    recipe = load_recipe(name)
    check_batches(recipe, network_of(recipe), sizes, processes)


def test_an_average_that_is_never_taken_is_refused():
    recipe = replace(load_recipe("keras-bn"), epochs=3)
    for every, fits in ((30, True), (31, False)):
        averaged = replace(recipe, averaging=AveragingRecipe("lookahead", every=every))
        if fits:
            check_batches(averaged, network_of(averaged), [32] * 10, 1)
        else:
            with pytest.raises(RecipeError, match=r"averaging.every = 31 must be at most 30"):
                check_batches(averaged, network_of(averaged), [32] * 10, 1)


@pytest.mark.parametrize("name", available_recipes())
def test_a_recipe_for_cifar10_is_left_as_it_is(name):
    recipe = load_recipe(name)
    assert fitted(recipe, IMAGE_SHAPE, LABELS) is recipe


@pytest.mark.parametrize(
    ("name", "options"),
    [("smoke", {"num_classes": 3}), ("keras-bn", {"num_classes": 3, "side": 20})],
)
def test_the_head_follows_the_data(name, options):
    recipe = replace(load_recipe(name), curriculum=())
    ready = fitted(recipe, (20, 20, 3), LABELS[:3])
    assert ready.network.options == {**recipe.network.options, **options}
    check_fits(ready, (20, 20, 3), LABELS[:3])


def test_a_number_of_classes_that_the_recipe_states_is_kept_and_refused():
    recipe = load_recipe("keras-bn")
    stated = {**recipe.network.options, "num_classes": 7}
    recipe = replace(recipe, network=replace(recipe.network, options=stated))
    with pytest.raises(RecipeError, match="its network has 7 classes, and the dataset has 3"):
        check_fits(fitted(recipe, IMAGE_SHAPE, LABELS[:3]), IMAGE_SHAPE, LABELS[:3])


def test_images_that_leave_nothing_to_pool_are_refused():
    recipe = replace(load_recipe("smoke"), curriculum=())
    with pytest.raises(RecipeError, match=r"takes no images of 8 by 8 pixels .*a larger data.size"):
        check_fits(recipe, (8, 8, 3), LABELS)
    keras = fitted(load_recipe("keras-bn"), (8, 8, 3), LABELS)
    with pytest.raises(RecipeError, match="side = 8 must be an integer from 10 to 256"):
        check_fits(keras, (8, 8, 3), LABELS)
