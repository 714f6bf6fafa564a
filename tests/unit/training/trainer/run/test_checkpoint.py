"""Checkpoints: whole or not there, and read without running code."""

import os
import pickle

import pytest
import torch

from training.errors import CheckpointError
from training.trainer.run.checkpoint import Checkpoint, Progress, load_checkpoint, save_checkpoint


def checkpoint(epoch=3):
    return Checkpoint(
        recipe={"name": "keras-bn", "network": {"options": {"batch_norm": True}}},
        seed=7,
        progress=Progress(epoch=epoch, step=25, augmentation_state=torch.arange(4)),
        network={"weight": torch.randn(2, 3)},
        optimizer={"state": {0: {"square_avg": torch.rand(3)}}, "param_groups": [{"lr": 0.1}]},
        history=[{"epoch": 1}],
        sessions=[{"hardware": "here"}],
    )


def test_what_is_saved_is_loaded(tmp_path):
    saved = checkpoint()
    save_checkpoint(saved, tmp_path / "new" / "checkpoint.pt")
    loaded = load_checkpoint(tmp_path / "new" / "checkpoint.pt")
    assert torch.equal(saved.network["weight"], loaded.network["weight"])
    assert torch.equal(saved.progress.augmentation_state, loaded.progress.augmentation_state)
    assert (loaded.progress.epoch, loaded.progress.step) == (3, 25)
    assert (loaded.recipe, loaded.history) == (saved.recipe, saved.history)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["checkpoint.pt"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(epoch=3), path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(checkpoint(epoch=4), path)
    assert load_checkpoint(path).progress.epoch == 3


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*checkpoint.pt"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_checkpoint_is_one_line(tmp_path, keep):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a readable checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 99, "progress": {}}, path)
    with pytest.raises(CheckpointError, match="has format 99, this version reads 2"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)


class RunsCode:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    marker = tmp_path / "was run"
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "progress": RunsCode(marker)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(RunsCode(marker)))  # it does run where nothing forbids it
    assert marker.exists()


def test_one_flipped_bit_in_a_weight_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    saved = checkpoint()
    save_checkpoint(saved, path)
    content = bytearray(path.read_bytes())
    content[content.index(saved.network["weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch itself does not notice
    with pytest.raises(CheckpointError, match=r"the checksum of .* is wrong"):
        load_checkpoint(path)


@pytest.mark.parametrize("change", [{"surprise": 1}, {"progress": {"surprise": 1}}])
def test_an_unknown_entry_is_no_traceback(tmp_path, change):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint(), path)
    torch.save({**torch.load(path, weights_only=True), **change}, path)
    with pytest.raises(CheckpointError, match="surprise"):
        load_checkpoint(path)
