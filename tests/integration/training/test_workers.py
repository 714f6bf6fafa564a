"""Two processes on the CPU (gloo) train what one would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import distributed_run
from training.errors import TrainingError
from training.trainer.distributed import Workers

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[3]


def together(folder, kind):
    """Return state and history of each of two processes."""
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", distributed_run.__file__, folder, kind),
        ],
        check=True,
        timeout=300,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def largest_difference(left, right):
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_without_batch_norm_two_processes_learn_what_one_does(tmp_path):
    first, second = together(tmp_path, "plain")
    alone = distributed_run.trained("plain", Workers())
    begin = distributed_run.TrainingRun(distributed_run.recipe("plain"), 3, distributed_run.CPU)
    state = alone.network.state_dict()
    assert largest_difference(first["state"], second["state"]) == 0
    assert largest_difference(state, first["state"]) < 1e-6
    assert largest_difference(state, begin.network.state_dict()) > 1e-2  # it moved
    for (loss, accuracy), record in zip(first["history"], alone.history, strict=True):
        assert loss == pytest.approx(record.train_loss, rel=1e-5)
        assert accuracy == record.train_accuracy


def test_batch_norm_sees_its_share_and_the_weights_stay_the_same_everywhere(tmp_path):
    first, second = together(tmp_path, "air")
    assert largest_difference(first["state"], second["state"]) < 1e-6
    alone = distributed_run.trained("air", Workers()).network.state_dict()
    # Statistics of five and four images are not those of nine: documented, and not a rounding.
    assert largest_difference(alone, first["state"]) > 1e-4


def test_the_shares_of_a_batch_are_a_partition():
    batch = torch.arange(11)
    workers = [Workers(rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([w.share(batch) for w in workers]), batch)
    assert [w.share_size(11) for w in workers] == [len(w.share(batch)) for w in workers]


def test_alone_nothing_is_wrapped_or_summed():
    network = torch.nn.Linear(2, 2)
    assert Workers().replicate(network, torch.device("cpu")) is network
    assert Workers().total(torch.tensor(3.0)) == 3
    assert Workers().leads
    assert not Workers(1, 2).leads


def test_a_rank_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(TrainingError, match=r"set by torchrun: .*'first'"):
        Workers.from_environment()
