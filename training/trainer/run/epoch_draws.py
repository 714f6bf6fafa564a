"""What an epoch draws: its order, its augmentation and its dropout.

Each epoch seeds its generators anew, so between epochs no state need be kept; inside one it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.data.augmentation import EpochAugmentation
from training.data.device_split import DeviceSplit
from training.data.seeds import Stream, stream_generator, stream_seed
from training.data.selection import epoch_batches
from training.recipes import Recipe
from training.trainer.run.checkpoint import Progress


@dataclass(frozen=True)
class EpochDraws:
    """The draws of one run."""

    recipe: Recipe
    seed: int
    device: torch.device

    def batches(self, train: DeviceSplit, epoch: int) -> list[torch.Tensor]:
        """Return an epoch's batches of indices, each (B,) int64; the last one may be smaller."""
        generator = stream_generator(self.seed, Stream.ORDER, epoch)
        recipe = self.recipe
        batches = epoch_batches(train.labels, recipe.batch_size, recipe.data.order, generator)
        return [indices.to(self.device) for indices in batches]

    def begin(self, train: DeviceSplit, progress: Progress) -> EpochAugmentation:
        """Seed augmentation and dropout for the epoch, or restore where they stood inside it."""
        generator = stream_generator(self.seed, Stream.AUGMENTATION, progress.epoch, self.device)
        augmentation = EpochAugmentation(
            train.images, self.recipe.augmentation, self.seed, progress.epoch, generator
        )
        torch.manual_seed(stream_seed(self.seed, Stream.DROPOUT, progress.epoch))
        if progress.augmentation_state is not None:
            generator.set_state(progress.augmentation_state)
        if progress.dropout_state is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(progress.dropout_state, self.device)
        elif progress.dropout_state is not None:
            torch.set_rng_state(progress.dropout_state)
        return augmentation

    def keep(self, augmentation: EpochAugmentation, progress: Progress) -> None:
        """Note in the progress where augmentation and dropout stand."""
        progress.augmentation_state = augmentation.generator.get_state()
        progress.dropout_state = self._dropout_state()
        progress.device_type = self.device.type

    def _dropout_state(self) -> torch.Tensor:
        # Dropout has no generator argument: it draws from the device's default one.
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.get_rng_state()
