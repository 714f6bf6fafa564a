"""One folder per run: made at once, refused when it cannot be."""

import json
from dataclasses import replace

import pytest
import torch

from models.history import EpochRecord, read_history
from training.errors import CheckpointError
from training.recipes import load_recipe
from training.trainer.loop import TrainingRun
from training.trainer.run.run_directory import RunDirectory


@pytest.fixture
def run():
    recipe = load_recipe("keras-baseline")
    run = TrainingRun(recipe, 7, torch.device("cpu"))
    row = EpochRecord(1, 1e-4, 1.5, 0.4, 1.4, 0.5, 100.0, 5.0)
    run.history = [row, replace(row, epoch=2)]
    run.sessions = [{"hardware": "here"}]
    return run


def test_a_new_folder_is_made_before_the_first_epoch(tmp_path):
    with RunDirectory(tmp_path / "deep" / "run").locked():
        assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("folder", ["file/run", "run"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_first_epoch(tmp_path, folder):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "run" / ".lock").mkdir(parents=True)  # as unwritable as a read-only disk
    message = r"cannot write to the run folder .*another --run-dir"
    with pytest.raises(CheckpointError, match=message), RunDirectory(tmp_path / folder).locked():
        pass


def test_what_is_saved_is_taken_up_again(run, tmp_path):
    directory = RunDirectory(tmp_path)
    directory.save(run)
    assert read_history(directory.history_file) == run.history
    resumed = TrainingRun(run.recipe, 7, run.device)
    directory.open(resumed, resume=True)
    assert (resumed.history, resumed.sessions) == (run.history, run.sessions)
    assert {"checkpoint.pt", "history.jsonl"} == {path.name for path in tmp_path.iterdir()}


def test_a_checkpoint_is_plain_values_but_for_its_tensors(run):
    checkpoint = run.checkpoint()
    json.dumps([checkpoint.recipe, checkpoint.history, checkpoint.sessions])
    assert all(type(value) is torch.Tensor for value in checkpoint.network.values())
