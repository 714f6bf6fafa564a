"""A small study and run folders as a training leaves them, without any training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.history import EpochRecord, write_history
from training.studies.conduct import StudyFolder
from training.studies.design import load_study
from training.studies.plan import plan_study
from training.studies.runs import RunFolders
from training.trainer.probes.measurement import Measurement, write_measurements
from training.trainer.run.run_directory import RunDirectory

TOML = """
name = "tiny"
title = "Tiny"
question = "Does batch norm help?"
base = "keras-baseline"
primary = "precise_accuracy_last_fifth"
thresholds = [0.5]
[set]
probes.precise_bn = 500
[factors.norm]
none = {}
batch = { network.options.norm = "batch" }
[[contrasts]]
name = "BN"
plus = [{ norm = "batch" }]
minus = [{ norm = "none" }]
predicted = "+"
[[claims]]
text = "Batch norm helps"
source = "everybody"
contrast = "BN"
[presets.cpu]
epochs = 4
seeds = [0, 1, 2]
"""
RECORD = EpochRecord(1, 1e-4, 1.5, 0.4, 1.4, 0.5, 100.0, 5.0)


@pytest.fixture
def folder(tmp_path):
    """The study `tiny`, of which nothing has run."""
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    return StudyFolder(load_study(str(path)), tmp_path / "rows", RunFolders(tmp_path / "runs"))


@pytest.fixture
def planned(folder):
    """The runs of the study."""
    return plan_study(folder.study, "cpu", torch.device("cpu"))


def accuracy_of(run, epoch):
    """Return the test accuracy that a made-up run has after an epoch."""
    return 0.3 + 0.05 * epoch + 0.01 * run.seed + 0.2 * (dict(run.cell)["norm"] == "batch")


def finish(path: Path, run) -> None:
    """Leave what a finished training leaves."""
    directory = RunDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    directory.describe(run.recipe)
    epochs = range(1, run.recipe.epochs + 1)
    write_history(
        [replace(RECORD, epoch=e, test_accuracy=accuracy_of(run, e)) for e in epochs],
        directory.history_file,
    )
    if dict(run.cell)["norm"] == "batch":
        precise = [
            Measurement(float(e), 1563 * e, "precise_bn_accuracy", accuracy_of(run, e) + 0.1)
            for e in epochs
        ]
        write_measurements(precise, directory.measures_file)


def diverge(path: Path, run) -> None:
    """Leave what a training leaves that diverged."""
    directory = RunDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    directory.describe(run.recipe)
    table = {"seed": run.seed, "epoch": 2, "step": 7, "message": "the loss is nan"}
    directory.divergence_file.write_text(json.dumps(table))


@pytest.fixture
def left_behind():
    """What leaves finished and diverged runs behind."""
    return {"finish": finish, "diverge": diverge, "accuracy_of": accuracy_of}
