"""Trainings that are killed, stopped, or lose one of their processes: what is there afterwards."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.processes import ROOT, SECONDS
from training.trainer.run.checkpoint import load_checkpoint

SMALL = str(ROOT / "tests" / "small_foldnorm.py")
KILLS = 3
# 246 images in batches of 12: 21 steps, the last of 6 images.
TRAIN = ("train", "keras-bn", "--data-dir", "none", "--threads", "1", "--set", "batch_size=12")
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def started(folder, *options, processes=1, **pipes):
    """Start a training of 5 epochs in a folder."""
    command = (sys.executable, *(TOGETHER if processes > 1 else ()), SMALL, *TRAIN)
    return subprocess.Popen(
        [*command, "--epochs", "5", "--run-dir", str(folder), *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | pipes,
    )


def run_to_the_end(folder, *options, **more):
    process = started(folder, *options, **more)
    said, _ = process.communicate(timeout=4 * SECONDS)
    assert process.returncode == 0, said
    return said


def weights(folder):
    return load_checkpoint(folder / "checkpoint.pt").network


def assert_same(left, right):
    assert all(torch.equal(left[name], right[name]) for name in left)


def wait_for(condition):
    until = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def ranks(process):
    """Return the process of each rank, once each trains: it then listens to SIGTERM."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def trains(number):
        status = Path(f"/proc/{number}/status").read_text()
        return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1

    def rank(number):
        return int(re.search(r"\0RANK=(\d)", Path(f"/proc/{number}/environ").read_text())[1])

    def found():
        numbers = [int(number) for number in children.read_text().split()]
        return len(numbers) == 2 and all(map(trains, numbers)) and numbers

    return {rank(number): number for number in wait_for(found)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run_to_the_end(folder)
    return weights(folder)


def test_a_run_killed_at_any_moment_goes_on_and_ends_with_the_same_weights(whole, tmp_path):
    draws = random.Random(11)
    for kill in range(KILLS):
        process = started(tmp_path, *(["--resume"] if kill else []))
        wait_for((tmp_path / "checkpoint.pt").exists)
        time.sleep(draws.uniform(0, 0.5))
        process.kill()
        process.communicate()
        load_checkpoint(tmp_path / "checkpoint.pt")
    run_to_the_end(tmp_path, "--resume")
    assert_same(whole, weights(tmp_path))


def test_an_epoch_is_saved_before_it_is_reported_to_a_closed_pipe(whole, tmp_path):
    process = started(tmp_path, stderr=subprocess.PIPE)
    process.stdout.readline()  # the run's header
    process.stdout.close()
    with process.stderr as stream:
        errors = stream.read()
    assert process.wait(SECONDS) == 1
    assert re.fullmatch(r"foldnorm: epoch (\d+) is saved in .*Broken pipe.*--resume\n", errors)
    saved = load_checkpoint(tmp_path / "checkpoint.pt").progress
    assert saved.epoch == int(re.search(r"epoch (\d+)", errors)[1])
    run_to_the_end(tmp_path, "--resume")
    assert_same(whole, weights(tmp_path))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
class TestTwoProcesses:
    def test_a_signal_to_one_stops_both_at_the_same_step_and_saves(self, tmp_path):
        run_to_the_end(tmp_path / "whole", processes=2)
        process = started(tmp_path / "run", processes=2)
        by_rank = ranks(process)
        os.kill(by_rank[1], signal.SIGTERM)
        time.sleep(0.4)
        process.terminate()  # to torchrun, which passes it on to both
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        (step,) = re.findall(r"stopped in epoch \d+, step (\d+); saved", said)
        assert load_checkpoint(tmp_path / "run" / "checkpoint.pt").progress.step == int(step)
        run_to_the_end(tmp_path / "run", "--resume", processes=2)
        assert_same(weights(tmp_path / "whole"), weights(tmp_path / "run"))

    def test_a_process_that_is_killed_ends_the_other_with_a_reason_and_nothing_is_called_saved(
        self, tmp_path
    ):
        process = started(tmp_path, processes=2)
        by_rank = ranks(process)
        wait_for((tmp_path / "checkpoint.pt").exists)
        os.kill(by_rank[1], signal.SIGKILL)
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode != 0
        assert "saved." not in said
        assert re.search(r"foldnorm: process 0 of 2 lost the others .*--resume", said)
        assert load_checkpoint(tmp_path / "checkpoint.pt").progress.epoch >= 1

    def test_a_last_batch_too_small_for_all_is_refused_before_the_first_step(self, tmp_path):
        process = started(tmp_path, "--set", "batch_size=27", processes=2)  # leaves 3 of 246
        said, _ = process.communicate(timeout=SECONDS)
        assert "batch_size = 27 leaves a batch of 3 of the 246 images for 2 processes" in said
