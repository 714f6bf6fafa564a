"""A network class of one's own: found below the current folder, and refused in one line."""

import re
import sys
from dataclasses import replace

import pytest
import torch

from training.errors import RecipeError
from training.recipes import load_recipe
from training.recipes.recipe import NetworkRecipe
from training.trainer.networks import check_fits, fitted, initial_network, network_of

SHAPE = (16, 16, 3)
LABELS = ("cat", "dog", "eel")
NETS = """
import torch
from torch import nn

def build(num_classes, image_shape, width=4):
    height, width_, channels = image_shape
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

def plain(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))

def wide(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))

def no_module(num_classes):
    return {"weights": 1}

def raises(num_classes):
    raise ValueError("first line\\nsecond line")

def no_parameter(num_classes):
    return nn.Flatten()

def half(num_classes):
    return plain(num_classes).half()

def picture(num_classes):
    return nn.Conv2d(3, num_classes, 3)

class Noisy(nn.Linear):
    def forward(self, images):
        return super().forward(images.flatten(1)) + torch.rand(1)

def noisy(num_classes):
    return Noisy(768, num_classes)

class Centred(nn.Linear):
    def forward(self, images):
        logits = super().forward(images.flatten(1))
        return logits - logits.mean(0)

def centred(num_classes):
    return Centred(768, num_classes)

def other_size(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))

def other_count(num_classes):
    return plain(num_classes + 2)

number = 3
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A package of somebody's own in the current folder."""
    folder = tmp_path / "ones_own"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "nets.py").write_text(NETS)
    (folder / "broken.py").write_text("def build(:")
    (folder / "needs.py").write_text("import no_such_package")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "ones_own"]:
        del sys.modules[name]


def recipe(architecture, **options):
    base = load_recipe("keras-bn")
    return replace(base, name="mine", network=NetworkRecipe(architecture, options))


def test_the_function_gets_the_options_the_classes_and_the_shape():
    ready = fitted(recipe("ones_own.nets:build", width=6), SHAPE, LABELS)
    assert ready.network.options == {"width": 6, "num_classes": 3, "image_shape": SHAPE}
    assert network_of(ready)[0].weight.shape == (6, 3, 3, 3)
    check_fits(ready, SHAPE, LABELS)


def test_the_shape_is_left_out_where_it_is_not_asked_for():
    ready = fitted(recipe("ones_own.nets:plain"), SHAPE, LABELS)
    assert ready.network.options == {"num_classes": 3}
    check_fits(ready, SHAPE, LABELS)


def test_the_seed_decides_the_first_weights():
    ready = fitted(recipe("ones_own.nets:plain"), SHAPE, LABELS)
    first, again, other = (initial_network(ready, seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("ones_own.nope:build", "there is no module ones_own.nope, that is no ones_own/nope.py in"),
        (
            "ones_own.nets:nope",
            "ones_own.nets has no function 'nope'; it has Centred, Noisy, build,",
        ),
        ("ones_own.nets:number", "ones_own.nets has no function 'number'"),
        ("ones_own.nets:", "is no module:function; write my_package.nets:build, for example"),
        (
            "ones_own.broken:build",
            "ones_own.broken cannot be imported: SyntaxError: invalid",
        ),
        ("ones_own.needs:build", "cannot be imported: ModuleNotFoundError: No module named 'no_su"),
        ("ones_own.nets:no_module", "returns a dict, and must return a torch.nn.Module"),
        ("ones_own.nets:raises", "(num_classes=3) fails: ValueError: first line; it is called"),
        ("ones_own.nets:no_parameter", "returns a network without a parameter to train"),
        ("ones_own.nets:half", "returns parameters in torch.float16; they are trained in float32"),
        ("ones_own.nets:picture", "returns (2, 3, 14, 14) for images (2, 3, 16, 16), and must"),
        ("ones_own.nets:noisy", "depends on the images beside it in the batch, or on chance"),
        ("ones_own.nets:centred", "depends on the images beside it in the batch, or on chance"),
        ("ones_own.nets:other_size", "fails on images (2, 3, 16, 16) float32: RuntimeError: mat1"),
        ("ones_own.nets:other_count", "its network has 5 classes, and the dataset has 3 labels"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(architecture, message):
    with pytest.raises(RecipeError, match=re.escape(message)) as refused:
        check_fits(fitted(recipe(architecture), SHAPE, LABELS), SHAPE, LABELS)
    assert "\n" not in str(refused.value)


def test_an_option_that_the_function_does_not_take_is_named():
    with pytest.raises(RecipeError, match=r"fails: TypeError: .*'depth'; it is called with the"):
        network_of(fitted(recipe("ones_own.nets:build", depth=3), SHAPE, LABELS))


@pytest.mark.parametrize("architecture", ["os:system", "torch:load", "torch.hub:load"])
def test_what_is_installed_is_never_called_by_its_name(architecture):
    with pytest.raises(RecipeError, match=r"there is no module .*, or import what is installed"):
        network_of(recipe(architecture))


def test_a_name_that_another_package_has_is_refused(package):
    (package.parent / "models").mkdir()
    (package.parent / "models" / "nets.py").write_text(NETS)
    (package.parent / "json.py").write_text(NETS)
    with pytest.raises(RecipeError, match=r"the name 'models' of models.nets is taken by another"):
        network_of(recipe("models.nets:build"))
    with pytest.raises(RecipeError, match=r"the name 'json' of json is taken by another package"):
        network_of(recipe("json:build"))


def test_a_curriculum_is_refused_where_the_network_takes_one_size_alone():
    ready = fitted(recipe("ones_own.nets:plain"), (16, 16, 3), LABELS)
    stage = replace(load_recipe("smoke").curriculum[0], side=16)
    larger = (32, 32, 3)
    wide = replace(recipe("ones_own.nets:wide"), curriculum=(stage,))
    check_fits(replace(ready, curriculum=(stage,)), SHAPE, LABELS)
    with pytest.raises(RecipeError, match=r"curriculum\[0\].side = 16 must be 32, since its netwo"):
        check_fits(fitted(wide, larger, LABELS), larger, LABELS)
