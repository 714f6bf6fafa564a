"""The stages for a GPU, in miniature on a CPU, with little more installed than torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cuda_provider import CPU, WAYS, answers, graphs_of, measure
from benchmarks.gpu import STAGES, read_lines, summary
from models.bundle import load_bundle
from training.recipes import load_recipe

ROOT = Path(__file__).parents[3]
# A machine with a GPU may have torch and numpy, and no package of this project.
ABSENT = (
    "tomli_w",
    "scipy",
    "statsmodels",
    "pandas",
    "onnx_ir",
    "fastapi",
    "orjson",
    "aiohttp",
    "PIL",
)


def worker(tmp_path, recipes, *options):
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
        "import training.data.cifar10 as cifar10\n"
        "from tests.small_runs import random_images\n"
        "cifar10.load_cifar10 = lambda _: (random_images(200, 1), random_images(60, 2))\n"
        "from benchmarks.gpu_worker import main\nmain()"
    )
    lines = tmp_path / "stage-0.jsonl"
    subprocess.run(
        [
            *(sys.executable, "-c", code, recipes, "--data-dir", "none", "--lines", str(lines)),
            *("--first-seed", "3", "--step", "2", "--device", "cpu", "--tiny", *options),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return read_lines(tmp_path)


def test_every_stage_names_recipes_that_ship():
    for stage in STAGES.values():
        for name in stage.recipes:
            assert load_recipe(name).name == name


def test_a_stage_leaves_a_line_for_each_run_and_its_statistics(tmp_path):
    runs = worker(tmp_path, "air94,keras-bn", "--seconds", "600", "--seeds", "1")
    assert [(run["recipe"], run["seed"], run["finished"]) for run in runs] == [
        ("air94", 3, True),
        ("keras-bn", 3, True),
    ]
    assert all(len(run["accuracies"]) == 2 and run["hardware"] for run in runs)
    tables = summary(runs)["recipes"]
    assert [table["single_view"]["n"] for table in tables.values()] == [1, 1]


def test_what_the_end_of_the_box_finds_unfinished_is_a_line_too(tmp_path):
    (run,) = worker(tmp_path, "keras-bn,air94", "--seconds", "0")
    assert not run["finished"]
    assert run["ended"] == "the time was over in epoch 1"


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    (tmp_path / "a-0.jsonl").write_text('{"seed": 1}\n{"seed": 2, "rec')
    assert read_lines(tmp_path) == [{"seed": 1}]


@pytest.mark.parametrize("accuracies", [[0.6, 0.74, 0.76], [0.1, 0.2, 0.3]])
def test_epochs_to_a_threshold_are_the_first_ones_or_none(accuracies):
    run = {
        "recipe": "air94",
        "hardware": "here",
        "precision": "float32",
        "finished": False,
        "accuracies": accuracies,
    }
    (table,) = summary([run])["recipes"].values()
    assert table["unfinished"] == 1
    assert table["first_epoch_at_0.75"] == [3 if accuracies[-1] > 0.75 else None]
    assert "single_view" not in table
    json.dumps(table)


@pytest.fixture(scope="module")
def graphs():
    return graphs_of(load_bundle(ROOT / "models" / "artifacts" / "keras-bn-1.1.0"))


def test_the_provider_s_cells_are_timed_in_turns_and_what_it_refuses_says_why(graphs):
    images = np.zeros((2, 32, 32, 3), np.uint8)
    rows = measure(graphs, images, CPU, [1, 2], rounds=2)
    assert len(rows) == len(graphs) * 2 * len(WAYS)
    for row in rows:
        refused = row["way"] == "replayed"
        assert row.get("refused") == ("only CUDA has graphs of kernels" if refused else None)
        assert refused or 0 < row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]


def test_the_graphs_of_the_provider_s_cells_give_the_same_answers(graphs):
    with np.load(ROOT / "tests" / "fixtures" / "cifar10-test-100.npz") as arrays:
        found = answers(graphs, arrays["images"], CPU)
    assert set(found) == {"folded", "half", "unfolded"}
    assert 0 < found["half"]["largest_logit_difference"] < 0.1
    assert all(one["answers_changed"] == 0 for one in found.values())
