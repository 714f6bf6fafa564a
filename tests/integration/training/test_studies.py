"""Studies of real, small trainings: one that is killed goes on and ends with the same table."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.trainer.run.checkpoint import load_checkpoint

pytestmark = pytest.mark.systems

TOML = """
name = "small"
title = "Small"
question = "Does it go on?"
base = "keras-baseline"
primary = "precise_accuracy_last_fifth"
[set]
data = { images = 2_000, test_images = 500 }
probes.precise_bn = 500
[factors.norm]
none = {}
batch = { network.options.norm = "batch" }
[presets.cpu]
epochs = 3
seeds = [0, 1]
"""
TIMES = ("seconds_per_epoch", "started")


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    path = tmp_path_factory.mktemp("design") / "small.toml"
    path.write_text(TOML)
    return path


def command(design, data_dir, folder, *options):
    return [
        *(sys.executable, "-m", "training.cli.app", "study", "run", str(design)),
        *("--data-dir", str(data_dir), "--output", str(folder / "rows"), "--device", "cpu"),
        *("--runs-dir", str(folder / "runs"), "--jobs", "2", *options),
    ]


def finish(design, data_dir, folder, *options):
    subprocess.run(
        command(design, data_dir, folder, *options),
        check=True,
        timeout=600,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    return table(folder)


def table(folder):
    with (folder / "rows" / "small" / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(folder):
    return {
        path.parent.name: load_checkpoint(path).network
        for path in sorted((folder / "runs").glob("*/checkpoint.pt"))
    }


def same_weights(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[run][name], right[run][name]) for run in left for name in left[run]
    )


@pytest.fixture(scope="module")
def undisturbed(design, data_dir, tmp_path_factory):
    """The folder of a study that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(design, data_dir, folder)
    return folder


def wait_for(condition, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the study ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.2)


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_study_whose_driver_and_runs_are_killed_goes_on_to_the_same_table(
    design, data_dir, tmp_path, undisturbed
):
    process = subprocess.Popen(command(design, data_dir, tmp_path))
    wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoint.pt")), process)
    for pid in (process.pid, *children(process.pid)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "rows" / "small" / "rows.csv").exists() or len(table(tmp_path)) < 4
    assert finish(design, data_dir, tmp_path) == table(undisturbed)
    assert same_weights(weights(tmp_path), weights(undisturbed))


def test_runs_that_outlive_their_driver_are_waited_for(design, data_dir, tmp_path, undisturbed):
    process = subprocess.Popen(command(design, data_dir, tmp_path))
    wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoint.pt")), process)
    process.kill()
    process.wait()
    assert finish(design, data_dir, tmp_path) == table(undisturbed)
    assert same_weights(weights(tmp_path), weights(undisturbed))


def test_a_killed_run_is_taken_up_from_its_checkpoint(design, data_dir, tmp_path, undisturbed):
    process = subprocess.Popen(command(design, data_dir, tmp_path))
    wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoint.pt")), process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert process.wait(600) == 0
    assert table(tmp_path) == table(undisturbed)


def test_on_ray_a_killed_worker_is_replaced_and_the_table_is_the_same(
    design, data_dir, tmp_path, undisturbed
):
    pytest.importorskip("ray")
    process = subprocess.Popen(
        command(design, data_dir, tmp_path, "--ray"),
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoint.pt")), process)
    checkpoint = next((tmp_path / "runs").glob("*/checkpoint.pt"))
    attempts = checkpoint.parent / "attempts.txt"
    os.kill(int(attempts.read_text().split()[-1]), signal.SIGKILL)
    assert process.wait(600) == 0
    assert len(attempts.read_text().split()) == 2
    assert table(tmp_path) == table(undisturbed)
    assert same_weights(weights(tmp_path), weights(undisturbed))
