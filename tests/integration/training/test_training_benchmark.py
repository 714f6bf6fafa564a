"""What the training benchmark compares: both loops train the network that they are timed with."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.training_bench.cell import measure_ours, measure_tutorial
from benchmarks.training_bench.systems import SYSTEMS, System
from benchmarks.training_bench.tutorial import DEVIATION, MEAN, Images, TutorialLoop, augmented
from training.data.cifar10 import Split
from training.recipes.recipe import NetworkRecipe, load_recipe

RECIPE = load_recipe("air-tiny")
NARROW = replace(RECIPE, network=NetworkRecipe("air", {"widths": (8, 8, 8)}), batch_size=12)


@pytest.fixture(scope="module")
def train():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 10
    colours = generator.integers(0, 256, (10, 1, 1, 3))
    noise = generator.integers(-20, 21, (60, 32, 32, 3))
    return Split((colours[labels] + noise).clip(0, 255).astype(np.uint8), labels)


def test_every_system_names_recipes_that_ship():
    for system in SYSTEMS:
        for network in system.networks:
            assert load_recipe(network).name == network


def test_both_loops_count_the_images_that_they_trained_on(train):
    tutorial = System("t", ("air-tiny",), "tutorial", "float32")
    images, seconds = measure_tutorial(NARROW, tutorial, train, 0.01)
    assert images > 0
    assert images % 12 == 0
    assert seconds > 0.01
    images, seconds = measure_ours(
        NARROW, System("o", ("air-tiny",), "ours", "float32"), train, train, 0.01
    )
    assert images > 0
    assert images % 60 == 0
    assert seconds > 0.01


def test_the_tutorials_loop_learns(train):
    torch.manual_seed(0)
    random.seed(0)
    loop = TutorialLoop(NARROW, train, batch_size=12, loader_workers=0)
    before = {name: p.clone() for name, p in loop.network.named_parameters()}
    assert loop.accuracy(train) < 0.3
    best = 0.0
    for _ in range(40):
        assert sum(loop.epoch()) == len(train.labels)
        best = max(best, loop.accuracy(train))  # it scatters: a high rate for so narrow a network
    assert best > 0.6
    moved = {n for n, p in loop.network.named_parameters() if not torch.equal(p, before[n])}
    assert {"group1.conv1.weight", "head.weight"} <= moved
    assert "whitening.weight" not in moved  # frozen here as well


def test_the_tutorials_images_are_padded_cropped_mirrored_and_normalized(train):
    image = Image.fromarray(train.images[0])
    variants = {np.asarray(augmented(image)).tobytes() for _ in range(20)}
    assert len(variants) > 10
    assert augmented(image).size == (32, 32)
    pixels, label = Images(train, augmented=False)[3]
    restored = ((pixels * DEVIATION + MEAN) * 255).permute(1, 2, 0).numpy()
    assert np.abs(restored - train.images[3]).max() < 1e-3
    assert label == train.labels[3]
