"""What a run is between two steps: weights, optimizer, progress, and what was measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from models.history import EpochRecord
from training.recipes import Recipe
from training.trainer.evaluate import RunResult
from training.trainer.methods.optimizers import OptimizerSet
from training.trainer.methods.weight_averaging import WeightAverage
from training.trainer.networks import initial_network
from training.trainer.probes import Probing
from training.trainer.run.checkpoint import (
    Checkpoint,
    Progress,
    require_same_images,
    require_same_run,
)
from training.trainer.run.epoch_draws import EpochDraws
from training.trainer.run.initial_weights import InitialWeights, load_initial, same_origin


class RunState:
    """A run that can be saved and taken up again."""

    def __init__(
        self, recipe: Recipe, seed: int, device: torch.device, precision: torch.dtype
    ) -> None:
        """Build the network of a recipe with the seed's random weights."""
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.autocast = torch.autocast(device.type, precision, precision != torch.float32)
        self.network = initial_network(recipe, seed).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = OptimizerSet(self.network, recipe.optimizer)
        self.average: WeightAverage | None = None
        if recipe.averaging:
            self.average = WeightAverage(self.network, recipe.averaging)
        self.draws = EpochDraws(recipe, seed, device)
        self.probing = Probing(recipe.probes, self.network, self.autocast)
        self.progress = Progress()
        self.history: list[EpochRecord] = []
        self.sessions: list[dict[str, Any]] = []
        self.result: RunResult | None = None
        self.origin: dict[str, Any] | None = None  # of weights that were not random at first
        self.images: dict[str, Any] | None = None  # which it is trained on; None of CIFAR-10

    def begin_with(self, initial: InitialWeights) -> None:
        """Take these weights for the random ones; a checkpoint that is restored replaces them.

        Raises:
            CheckpointError: they are another network's.
        """
        load_initial(initial, self.network)
        self.origin = initial.origin
        if self.average:
            self.average.begin()

    @property
    def finished(self) -> bool:
        """Whether all epochs of the recipe are done, or its patience is over."""
        return self.progress.epoch >= self.recipe.epochs or self.impatient

    @property
    def held_out_accuracies(self) -> list[float]:
        """The accuracy on the held-out images after each epoch, where the recipe has some."""
        found = self.probing.measurements
        return [one.value for one in found if one.measure == "held_out_accuracy"]

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 1, that was best on the held-out images; of equals the first."""
        seen = self.held_out_accuracies
        return seen.index(max(seen)) + 1 if seen else None

    @property
    def impatient(self) -> bool:
        """Whether the held-out accuracy was best longer ago than the recipe waits."""
        best = self.best_epoch or self.progress.epoch
        return 0 < self.recipe.patience <= len(self.held_out_accuracies) - best

    def checkpoint(self) -> Checkpoint:
        """Return the state of the run, to be written before the run moves on."""
        return Checkpoint(
            recipe=self.recipe.to_dict(),
            seed=self.seed,
            progress=self.progress,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            history=[asdict(record) for record in self.history],
            sessions=self.sessions,
            average=self.average.average if self.average else None,
            probing=self.probing.state(),
            outcome=asdict(self.result) if self.result else None,
            origin=self.origin,
            images=self.images,
        )

    def best_checkpoint(self) -> Checkpoint | None:
        """Return weights and curve of the epoch that was just finished, if it is the best so far.

        Best on the held-out images, never on the test set. It cannot be trained on.
        """
        if self.progress.step or self.progress.epoch != self.best_epoch:
            return None
        selected = {
            "epoch": self.progress.epoch,
            "images": self.recipe.data.held_out,
            "accuracy": self.held_out_accuracies[-1],
        }
        return replace(self.checkpoint(), optimizer={}, average=None, selected=selected)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up a checkpoint of the same recipe and seed.

        Raises:
            CheckpointError: the checkpoint is of another run.
        """
        require_same_run(checkpoint, self.recipe, self.seed, self.device.type)
        require_same_images(checkpoint, self.images)
        self.origin = same_origin(self.origin, checkpoint.origin)
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.progress = checkpoint.progress
        self.history = [EpochRecord(**row) for row in checkpoint.history]
        self.sessions = checkpoint.sessions
        self.result = RunResult(**checkpoint.outcome) if checkpoint.outcome else None
        if self.average and checkpoint.average:
            self.average.restore(checkpoint.average)
        if checkpoint.probing:
            self.probing.restore(checkpoint.probing)
