"""One of several processes that train a small network together; started by torchrun.

    torchrun … distributed_run.py FOLDER KIND

Writes the network's state as FOLDER/rankN.pt. KIND is `plain`, without batch norm, or `air`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.small_runs import Observer, random_split
from training.recipes.optimizers import (
    GroupedRecipe,
    GroupRecipe,
)
from training.recipes.recipe import (
    AugmentationRecipe,
    NetworkRecipe,
    Recipe,
)
from training.trainer.distributed import Workers
from training.trainer.loop import TrainingRun

CPU = torch.device("cpu")
NETWORKS = {
    "plain": NetworkRecipe("keras_cnn", {"batch_norm": False, "dropout": False}),
    "air": NetworkRecipe("air", {"widths": (8, 8, 8)}),
}


def recipe(kind: str) -> Recipe:
    """Return two epochs of uneven batches, 9 images and at last 5."""
    group = GroupRecipe(0.05)
    return Recipe(
        name="together",
        title="Trained together",
        epochs=2,
        batch_size=9,
        seed=3,
        network=NETWORKS[kind],
        optimizer=GroupedRecipe("sgd", 0.5, group, group, group, group),
        augmentation=AugmentationRecipe(crop=2, alternating_flip=True, brightness=0.1),
        recalibrate=True,
    )


def trained(kind: str, workers: Workers) -> TrainingRun:
    """Return a finished run.

    Without oneDNN, the last bits of whose sums depend on the size of the batch: a maximum that they
    turn is another gradient, and on some processors that came to 6e-3 within these twelve steps.
    """
    torch.set_num_threads(1)
    before, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False
    try:
        run = TrainingRun(recipe(kind), 3, CPU, workers=workers)
        run.prepare(random_split(50, 50), random_split(10, 10))
        while not run.finished:
            run.train_epoch(random_split(50, 50), random_split(20, 20), Observer())
    finally:
        torch.backends.mkldnn.enabled = before
    return run


if __name__ == "__main__":
    with Workers.from_environment() as here:
        run = trained(sys.argv[2], here)
    figures = [(record.train_loss, record.train_accuracy) for record in run.history]
    torch.save(
        {"state": run.network.state_dict(), "history": figures},
        Path(sys.argv[1]) / f"rank{here.rank}.pt",
    )
