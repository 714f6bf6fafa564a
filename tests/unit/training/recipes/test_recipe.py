"""Recipes: those that ship are the Keras baseline's, and a wrong one says what is wrong."""

import re

import pytest

from training.errors import RecipeError
from training.recipes import available_recipes, load_recipe


def table(recipe):
    flat = {}
    for key, value in recipe.to_dict().items():
        nested = value if isinstance(value, dict) else {"": value}
        flat.update({f"{key}.{name}".rstrip("."): item for name, item in nested.items()})
    return flat


def test_the_pair_ships():
    assert {"keras-baseline", "keras-bn"} <= set(available_recipes())


def test_the_keras_pair_differs_in_batch_norm_dropout_and_learning_rate_alone():
    baseline, with_norms = table(load_recipe("keras-baseline")), table(load_recipe("keras-bn"))
    differing = {key for key in baseline if baseline[key] != with_norms[key]}
    assert differing == {"name", "title", "network.options", "optimizer.learning_rate"}
    assert baseline["network.options"] == {"dropout": (0.25, 0.25, 0.5)}
    assert with_norms["network.options"] == {"norm": "batch", "norm_on_logits": True}
    assert with_norms["optimizer.learning_rate"] == 10 * baseline["optimizer.learning_rate"]


def test_the_baseline_is_that_of_keras():
    values = table(load_recipe("keras-baseline"))
    assert values["optimizer.learning_rate"] == 1e-4
    assert values["optimizer.decay"] == 1e-6
    assert (values["optimizer.rho"], values["optimizer.epsilon"]) == (0.9, 1e-7)
    assert (values["batch_size"], values["epochs"], values["seed"]) == (32, 50, 7)
    assert (values["augmentation.max_shift"], values["augmentation.flip_probability"]) == (0.1, 0.5)
    assert values["probability_clip"] == 1e-7


def test_an_unknown_name_lists_those_that_ship():
    with pytest.raises(RecipeError, match=r"those that ship: air-tiny, air94, .*keras-bn, smoke"):
        load_recipe("keras-nope")


RATE = "learning_rate = 1"
SOUND = """
name = "mine"
title = "Mine"
epochs = 3
batch_size = 8
seed = 1
[network]
architecture = "keras_cnn"
options = { batch_norm = true, dropout = false }
[optimizer]
learning_rate = 1
"""


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_recipe(str(path))


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path):
    recipe = load(tmp_path, SOUND)
    assert recipe.name == "mine"
    assert recipe.optimizer.learning_rate == 1.0
    assert isinstance(recipe.optimizer.learning_rate, float)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 3", "epoch = 3", r"unknown key 'epoch'; known: name, title, epochs"),
        ("epochs = 3", "", r"the key 'epochs' is missing"),
        ("epochs = 3", 'epochs = "3"', r"epochs = '3' must be int"),
        ("epochs = 3", "epochs = true", r"epochs = True must be int"),
        ("epochs = 3", "epochs = 3.5", r"epochs = 3.5 must be int"),
        (RATE, "rate = 1", r"optimizer: unknown key 'rate'"),
        ("epochs = 3", "epochs = ", r"cannot read the recipe"),
        ("seed = 1", "seed = 1" + 400 * "0", r"seed is an integer of 1329 bits"),
        ("seed = 1", "seed = 1" + 5000 * "0", r"cannot read the recipe"),
        (RATE, RATE + 400 * "0", r"optimizer: learning_rate is an"),
        ("options = {", "deep = " + 5000 * "[" + "\noptions = {", r"cannot read the recipe"),
        ('"Mine"', "7", r"title = 7 must be str, not int"),
        ("batch_norm = true", "batch_norm = {}", r"options\.batch_norm = \{\} must be"),
        ("[optimizer]", "[optimiser]", r"unknown key 'optimiser'; known: .*optimizer"),
        ('name = "mine"', 'name = "../mine"', r"name '../mine' must be lower-case words"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path, old, new, message):
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, SOUND.replace(old, new, 1))


GROUPED = """
kind = "muon"
momentum = 0.85
filters = { learning_rate = 0.1 }
biases = { learning_rate = 0.1 }
head = { learning_rate = 0.1 }
whitening_bias = { learning_rate = 0.1 }
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs = 3",
            "epochs = 0",
            "epochs = 0 must be at least 1 and at most 1,000,000; write epochs = 50",
        ),
        (
            "batch_size = 8",
            "batch_size = 1",
            "batch_size = 1 must be at least 2 and at most 50,000;",
        ),
        (
            "seed = 1",
            "seed = -1",
            "seed = -1 must be at least 0 and at most 9,223,372,036,854,775,807;",
        ),
        (
            RATE,
            "learning_rate = -1",
            "optimizer.learning_rate = -1.0 must be above 0 and at most 10000;",
        ),
        (
            RATE,
            "learning_rate = nan",
            "learning_rate = nan must be finite and above 0 and at most 10000;",
        ),
        (
            RATE,
            "learning_rate = inf",
            "learning_rate = inf must be finite and above 0 and at most 10000;",
        ),
        (
            RATE,
            f"{RATE}\nrho = 1.0",
            "rho = 1.0 must be at least 0 and below 1;",
        ),
        (
            "seed = 1",
            "seed = 1\nprobability_clip = 0.5",
            "probability_clip = 0.5 must be at least 0 and below 0.5; write",
        ),
        (
            RATE,
            GROUPED.replace("0.1 }", "0.1, until = 0 }", 1),
            "optimizer.filters.until = 0.0 must be above 0 and at most 1;",
        ),
        (
            RATE,
            GROUPED.replace("0.1 }", "0.1, weight_decay = 1 }", 1),
            "filters.weight_decay = 1.0 must be 0: Muon keeps the norm of the filters; leave",
        ),
        (
            "[optimizer]",
            "[augmentation]\ncrop = 2\nmax_shift = 0.1\n[optimizer]",
            "max_shift = 0.1 and flip_probability = 0.0 must be 0 with crop or alternating_flip;",
        ),
        (
            "seed = 1",
            "seed = 1\ncurriculum = [{ side = 8, until = 0.5 }]",
            "curriculum[0].side = 8 must be at least 16; write side = 24, for example",
        ),
        (
            "seed = 1",
            "seed = 1\ncurriculum = [{ side = 24, until = 0.5 }, { side = 28, until = 0.4 }]",
            "curriculum ends at [0.5, 0.4], which must rise; order the stages",
        ),
        (
            "seed = 1",
            'seed = 1\naveraging = { kind = "ema", decay = 1.0 }',
            "averaging.decay = 1.0 must be above 0 and below 1;",
        ),
        (
            "learning_rate = 1",
            "learning_rate = 1e308",
            "learning_rate = 1e+308 must be above 0 and at most 10000; write learning_rate = 0.001",
        ),
        (
            RATE,
            "learning_rate = 1\nepsilon = 1e-60",
            "optimizer.epsilon = 1e-60 must be at least 1e-30 and at most 1;",
        ),
        (
            "seed = 1",
            "seed = 1\npatience = 3",
            "patience = 3 needs images to look at; write data.held_out = 5_000",
        ),
        (
            "seed = 1",
            "seed = 1\npatience = 3\nrecalibrate = true\ndata = { held_out = 5_000 }",
            "patience = 3 must be 0 where a schedule,",
        ),
        (
            "seed = 1",
            "seed = 1\nlabel_smoothing = 0.1\nprobability_clip = 1e-7",
            "label_smoothing = 0.1 and probability_clip = 1e-07 do not go together",
        ),
    ],
)
def test_a_number_out_of_range_is_reported_with_its_range_and_a_remedy(tmp_path, old, new, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        load(tmp_path, SOUND.replace(old, new, 1))


def test_a_name_that_no_file_can_have_is_one_line():
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe("keras\0bn")


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*mine\.toml"):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SOUND, encoding="utf-8-sig")
    assert load_recipe(str(path)).name == "mine"
