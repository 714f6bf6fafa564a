"""Overrides: what is set replaces what it names, and a wrong one says so."""

import pytest

from training.errors import RecipeError
from training.recipes import load_recipe, override, patched, recipe_from_dict

BASE = load_recipe("keras-bn")


def test_a_value_is_read_as_toml():
    recipe = override(BASE, ["optimizer.learning_rate=1e-2", "data.images=1000"])
    assert recipe.optimizer.learning_rate == 1e-2
    assert recipe.data.images == 1000
    assert recipe.optimizer.decay == BASE.optimizer.decay


def test_what_is_no_toml_is_a_word():
    recipe = override(BASE, ["network.options.norm=group", "augmentation.interpolation=nearest"])
    assert recipe.network.options["norm"] == "group"
    assert recipe.augmentation.interpolation == "nearest"


def test_nothing_set_changes_nothing():
    assert override(BASE, []) is BASE


def test_another_kind_of_optimizer_replaces_the_old_ones_keys():
    recipe = override(BASE, ["optimizer.kind=adam", "optimizer.learning_rate=1e-3"])
    assert recipe.optimizer.kind == "adam"
    assert not hasattr(recipe.optimizer, "rho")


def test_a_schedule_can_be_set_as_a_table():
    recipe = override(BASE, ['optimizer.schedule={kind = "cosine", warmup = 0.1}'])
    assert recipe.optimizer.schedule.warmup == 0.1
    assert recipe.bound_to_epochs
    assert not BASE.bound_to_epochs


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learning_rate", "no KEY=VALUE; write --set optimizer.learning_rate=1e-3"),
        ("=3", "no KEY=VALUE"),
        ("optimizer..rho=1", "no KEY=VALUE"),
        ("optimizer.rate=1", "unknown key 'rate'; known: learning_rate"),
        ("epochs=many", "epochs = 'many' must be int"),
        ("epochs=0", "epochs = 0 must be at least 1"),
    ],
)
def test_a_wrong_assignment_is_named(assignment, message):
    with pytest.raises(RecipeError, match=message):
        override(BASE, [assignment])


def test_a_key_cannot_be_a_value_and_a_table():
    with pytest.raises(RecipeError, match="optimizer was set to a value before"):
        override(BASE, ["optimizer=1", "optimizer.rho=0.5"])


def test_a_patch_goes_deep_and_leaves_its_neighbours():
    recipe = patched(BASE, {"network": {"options": {"norm": "layer"}}}, "here")
    assert recipe.network.options == {"norm": "layer", "norm_on_logits": True}


def test_the_toml_of_a_recipe_reads_back_as_the_same_recipe():
    import tomllib

    import tomli_w

    for name in ("keras-bn", "keras-baseline", "air94", "smoke"):
        recipe = load_recipe(name)
        text = tomli_w.dumps(recipe.to_toml())
        assert recipe_from_dict(tomllib.loads(text), name) == recipe


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(RecipeError, match="nesterov = true needs a momentum above 0"):
        override(BASE, ["optimizer={kind='plain-sgd', learning_rate=0.1, nesterov=true}"])


def test_values_too_deep_or_too_long_for_toml_are_words_and_no_traceback():
    for value in ("9" * 5_000, "[" * 2_000):
        with pytest.raises(RecipeError, match="seed"):
            override(load_recipe("keras-bn"), [f"seed={value}"])


def test_a_value_of_several_lines_is_refused_not_cut():
    with pytest.raises(RecipeError, match="several lines"):
        override(load_recipe("keras-bn"), ["epochs=1\nseed=3"])
