"""Studies as data: those that ship can be planned, and a wrong one says what is wrong."""

import re

import pytest
import torch

from training.errors import StudyError
from training.studies.design import available_studies, load_study, selects
from training.studies.plan import plan_study, run_identity, steps_per_epoch

CPU = torch.device("cpu")
SOUND = """
name = "mine"
title = "Mine"
question = "Is it?"
base = "keras-baseline"
primary = "test_accuracy_last_fifth"
[factors.norm]
none = {}
batch = { network.options.norm = "batch" }
[factors.rate]
low = { optimizer.learning_rate = 1e-4 }
high = { optimizer.learning_rate = 1e-3 }
[presets.cpu]
epochs = 2
seeds = [0, 1, 2]
"""
CONTRAST = """
[[contrasts]]
name = "BN"
plus = [{ norm = "batch" }]
minus = [{ norm = "none" }]
"""
CLAIM = """
[[claims]]
text = "so"
source = "they"
"""


def study(tmp_path, text=SOUND):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_study(str(path))


@pytest.mark.parametrize("name", available_studies())
def test_every_study_that_ships_can_be_planned_in_all_its_sizes(name):
    design = load_study(name)
    assert {"cpu", "gpu", "smoke"} <= set(design.presets)
    for preset in design.presets:
        runs = plan_study(design, preset, CPU)
        assert len({run.identity for run in runs}) == len(runs)
        assert {run.recipe.precision for run in runs} <= {"float32", "bfloat16"}


@pytest.mark.parametrize("name", available_studies())
def test_a_study_smaller_than_the_articles_says_what_it_cannot_show(name):
    assert load_study(name).presets["cpu"].note


def test_cells_are_all_combinations_but_those_left_out(tmp_path):
    assert len(study(tmp_path).cells()) == 4
    left_out = SOUND.replace(
        "[factors.norm]", 'exclude = [{ norm = "none", rate = "high" }]\n[factors.norm]'
    )
    cells = study(tmp_path, left_out).cells()
    assert len(cells) == 3
    assert not any(selects({"norm": "none", "rate": "high"}, cell) for cell in cells)


def test_levels_are_patches_of_the_recipe(tmp_path):
    runs = plan_study(study(tmp_path), "cpu", CPU)
    recipe = next(r for r in runs if dict(r.cell) == {"norm": "batch", "rate": "high"}).recipe
    assert recipe.network.options["norm"] == "batch"
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.epochs == 2
    assert recipe.name == "mine-batch-high"


def test_runs_come_seed_by_seed_so_that_a_stopped_study_is_balanced(tmp_path):
    seeds = [run.seed for run in plan_study(study(tmp_path), "cpu", CPU)]
    assert seeds == [0] * 4 + [1] * 4 + [2] * 4


def test_some_cells_can_have_epochs_and_seeds_of_their_own(tmp_path):
    rule = 'cells = [{ where = { norm = "batch" }, set = { epochs = 1 }, seeds = [5] }]\n'
    runs = plan_study(study(tmp_path, SOUND + rule), "cpu", CPU)
    batch = [run for run in runs if dict(run.cell)["norm"] == "batch"]
    assert {(run.seed, run.recipe.epochs) for run in batch} == {(5, 1)}
    assert len(runs) == 2 + 6


def identity(**changes):
    from training.recipes import load_recipe, patched

    return run_identity(patched(load_recipe("keras-bn"), changes, "here"))


def test_a_run_is_named_by_what_decides_its_weights():
    named = identity()
    assert re.fullmatch("[0-9a-f]{12}", named)
    assert identity(seed=8) != named
    assert identity(optimizer={"learning_rate": 1e-2}) != named
    assert identity(precision="bfloat16") != named
    assert identity(data={"images": 1000}) != named


def test_titles_probes_and_free_epochs_do_not_rename_a_run():
    named = identity()
    assert identity(name="other", title="Other") == named
    assert identity(probes={"layers": True, "precise_bn": 500}) == named
    assert identity(epochs=3) == named
    scheduled = {"optimizer": {"schedule": {"kind": "linear"}}}
    assert identity(**scheduled) != identity(**scheduled, epochs=3)


def test_a_default_said_aloud_does_not_rename_a_run():
    assert identity(data={"order": "shuffled"}, gradient_clip=0.0) == identity()


def test_the_names_of_committed_runs_stay():
    """Rows in docs/studies carry them: another name would train every run again."""
    (first, *_) = plan_study(load_study("reference"), "cpu", CPU)
    assert first.identity == "49367cb01803"


def test_studies_share_the_runs_that_they_have_in_common():
    def names(study_name):
        return {run.identity for run in plan_study(load_study(study_name), "cpu", CPU)}

    assert names("inside") < names("which-change")
    assert names("statistics") < names("reference")
    assert len(names("placement") & names("which-change")) == 6


def test_an_epoch_has_the_steps_that_the_loop_takes():
    from training.recipes import load_recipe, patched

    recipe = load_recipe("keras-bn")
    assert steps_per_epoch(recipe) == 1563
    assert steps_per_epoch(patched(recipe, {"data": {"held_out": 5000}}, "")) == 1407
    by_class = {"data": {"order": "by-class", "images": 1000}}
    assert steps_per_epoch(patched(recipe, by_class, "")) == 40


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", "unknown key 'titel'"),
        ('name = "mine"', 'name = "My Study"', "must be lower-case words joined by -"),
        ("epochs = 2", "epochs = 0", "presets.cpu.epochs = 0 must be 1 to 100,000"),
        ("[0, 1, 2]", "[0, 1, 1]", "has a seed twice in [0, 1, 1]"),
        (
            "[factors.norm]",
            'exclude = [{ nrm = "none" }]\n[factors.norm]',
            "factor 'nrm'; there are norm, rate",
        ),
        (
            "[factors.norm]",
            'exclude = [{ norm = "no" }]\n[factors.norm]',
            "level 'no' of 'norm'; it has none, batch",
        ),
        (
            "[factors.norm]",
            '[[claims]]\ntext = "so"\nsource = "they"\n[factors.norm]',
            "needs a contrast, a mean or both, or else an arrival",
        ),
        (
            "[factors.norm]",
            '[[claims]]\ntext = "so"\nsource = "they"\ncontrast = "x"\n[factors.norm]',
            "there is no contrast 'x'",
        ),
        (
            "[factors.norm]",
            "smallest = 0.0\n[factors.norm]",
            "smallest = 0.0 must be a number above 0",
        ),
        (
            "[factors.norm]",
            "smallest = nan\n[factors.norm]",
            "smallest = nan must be a number above",
        ),
        ("[factors.norm]", "thresholds = [75]\n[factors.norm]", "thresholds has 75"),
        ("[factors.norm]", 'figures = ["pie"]\n[factors.norm]', "'pie'; there are attribution"),
        ("[factors.norm]", 'figures = ["gaps"]\n[factors.norm]', "'gaps' needs the factor 'batch'"),
        ("factors.rate", "factors.precision", "'precision' is called as a column of rows.csv"),
        ("factors.rate", "factors.test_accuracy_last", "is called as a column of rows.csv"),
        ("test_accuracy_last_fifth", "test_acuracy_last", "'test_acuracy_last' is no measure"),
        ("test_accuracy_last_fifth", "train_loss_last", "no measure that a diverged run scores"),
        ("epochs = 2", "epochs = 1000000000000000", "must be 1 to 100,000"),
        ("[0, 1, 2]", "[0]\ncells = [{ where = {}, seeds = [3, 3] }]", "a seed twice in [3, 3]"),
        ("[0, 1, 2]", "[0]\ncells = [{ where = {}, seeds = [] }]", "has seeds = []"),
        ("[factors.norm]", CONTRAST + CONTRAST + "[factors.norm]", "'BN' is there twice"),
        (
            "[factors.norm]",
            CONTRAST.replace('minus = [{ norm = "none" }]', "minus = []") + "[factors.norm]",
            "add up to 0, and these to 1; name as many selections in plus as in minus",
        ),
        (
            "[factors.norm]",
            CONTRAST.replace('"none"', '"batch"') + "[factors.norm]",
            "all weights are 0",
        ),
        (
            "[factors.norm]",
            CONTRAST + 'measure = "late_effective_smoothness"\n[factors.norm]',
            "is of another unit than test_accuracy_last_fifth; write smallest_share",
        ),
        ("[factors.norm]", CONTRAST + 'measure = "speed"\n[factors.norm]', "no measure 'speed'"),
        (
            "[factors.norm]",
            '[attribution]\nstart = { norm = "none" }\n'
            '[[attribution.switches]]\nname = "a"\nfactor = "rate"\nlevel = "low"\n[factors.norm]',
            "attribution: 'a' sets 'rate', which is no factor",
        ),
        (
            "[factors.norm]",
            CLAIM + 'mean = { where = {}, measure = "test_accuracy_last" }\n[factors.norm]',
            "any mean would fulfil it",
        ),
        (
            "[factors.norm]",
            CLAIM + "arrival = { where = {}, threshold = 0.9, within = 3 }\n[factors.norm]",
            "0.9 is none of the study's thresholds",
        ),
    ],
)
def test_a_wrong_design_is_refused_by_name(old, new, message, tmp_path):
    with pytest.raises(StudyError, match=re.escape(message)):
        study(tmp_path, SOUND.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('norm = "batch"', 'norm = "bach"', "norm = 'bach' must be one of"),
        ("learning_rate = 1e-3", "rate = 1e-3", "unknown key 'rate'"),
        ('base = "keras-baseline"', 'base = "keras"', "no recipe 'keras'"),
        ("none = {}", "none = { data.images = 15 }", "data.images = 15 must be a multiple of 10"),
        (
            "none = {}",
            "none = { data = { images = 49_990, held_out = 5_000 } }",
            "data.images = 49990 must be a multiple of 10, the number of classes, and at most ",
        ),
        (
            "none = {}",
            "none = { augmentation = { max_shift = 0.0, flip_probability = 0.0, crop = 100 } }",
            "augmentation.crop = 100 must be at most",
        ),
        (
            "none = {}",
            "none = { probes.points = { far = 99_999 } }",
            "study 'mine', none, low: probes.points.far = 99999 must be a step of the run",
        ),
    ],
)
def test_a_patch_that_makes_no_recipe_is_refused_before_anything_is_trained(
    old, new, message, tmp_path
):
    with pytest.raises(StudyError, match=re.escape(message)):
        plan_study(study(tmp_path, SOUND.replace(old, new)), "cpu", CPU)


def test_unknown_studies_and_presets_name_the_known_ones(tmp_path):
    with pytest.raises(StudyError, match=r"no study 'nope'; those that ship: activations, .*which"):
        load_study("nope")
    with pytest.raises(StudyError, match="has no preset 'tpu'; take one of cpu"):
        plan_study(study(tmp_path), "tpu", CPU)
