"""A run folder is trained in by one process, and says how a run ended."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace

import pytest
import torch

from training.errors import CheckpointError, DivergedError
from training.recipes import load_recipe, recipe_from_dict
from training.trainer.loop import TrainingRun
from training.trainer.run.run_directory import RunDirectory

HOLD = """
import sys
from pathlib import Path
from training.trainer.run.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that trains in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_which_one_trains(holder, tmp_path):
    folder = RunDirectory(tmp_path)
    assert folder.is_locked
    with (
        pytest.raises(CheckpointError, match=f"trained by the process {holder.pid}; wait for it"),
        folder.locked(),
    ):
        pass


def test_the_lock_ends_with_its_process_however_that_ends(holder, tmp_path):
    holder.kill()
    holder.wait()
    folder = RunDirectory(tmp_path)
    assert not folder.is_locked
    with folder.locked():
        assert folder.is_locked
    assert not folder.is_locked


def test_a_folder_that_nobody_trained_in_is_not_locked(tmp_path):
    assert not RunDirectory(tmp_path / "none").is_locked


def test_the_recipe_in_the_folder_is_the_runs(tmp_path):
    recipe = replace(load_recipe("air94"), seed=3)
    folder = RunDirectory(tmp_path)
    folder.describe(recipe)
    assert recipe_from_dict(tomllib.loads(folder.recipe_file.read_text()), "here") == recipe


def test_a_divergence_is_kept_with_its_epoch(tmp_path):
    run = TrainingRun(load_recipe("keras-bn"), 5, torch.device("cpu"))
    run.progress.step = 12
    run.sessions = [{"hardware": "a machine"}]
    RunDirectory(tmp_path).record_divergence(run, DivergedError("the loss is nan"))
    kept = json.loads((tmp_path / "diverged.json").read_text())
    assert kept == {
        "seed": 5,
        "epoch": 1,
        "step": 12,
        "message": "the loss is nan",
        "session": {"hardware": "a machine"},
    }
