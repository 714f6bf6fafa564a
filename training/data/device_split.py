"""Dataset splits where the network is: training gathers its batches there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.data.cifar10 import Split
from training.data.selection import select
from training.recipes.recipe import DataRecipe


@dataclass(frozen=True)
class DeviceSplit:
    """A dataset split on the device: images (N, C, H, W) uint8, labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def place(cls, split: Split, device: torch.device) -> DeviceSplit:
        """Copy a split to the device."""
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2)  # still NHWC in memory
        return cls(images.to(device), torch.from_numpy(split.labels).to(device))


@dataclass(frozen=True)
class RunData:
    """What a run needs of a dataset: images to train on, to report on and perhaps to select on."""

    train: DeviceSplit
    test: DeviceSplit
    held_out: DeviceSplit | None = None

    @classmethod
    def place(
        cls, splits: tuple[Split, Split], recipe: DataRecipe, device: torch.device
    ) -> RunData:
        """Copy to the device what the recipe takes of the training and the test images."""
        train, held_out = select(splits[0], recipe)
        test = splits[1].first(recipe.test_images or len(splits[1]))
        return cls(
            DeviceSplit.place(train, device),
            DeviceSplit.place(test, device),
            None if held_out is None else DeviceSplit.place(held_out, device),
        )
