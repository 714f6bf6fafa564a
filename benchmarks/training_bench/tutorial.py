"""The loop that torch's tutorials teach, around the same network.

One image at a time is cropped, mirrored and normalized with Pillow by a `DataLoader`; the network
runs eagerly in float32 and in the default memory format, SGD is the default one, and the loss is
read at every step.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from models.networks import AirNet, build_network
from training.trainer.methods.patch_whitening import whitening_filters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.data.cifar10 import Split
    from training.recipes import Recipe

MEAN = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
DEVIATION = torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]
PADDING = 4
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4


class Images(Dataset[tuple[torch.Tensor, int]]):
    """A split, one image at a time."""

    def __init__(self, split: Split, *, augmented: bool) -> None:
        self.split = split
        self.augmented = augmented

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.split.images[index])
        if self.augmented:
            image = augmented(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - MEAN) / DEVIATION, int(self.split.labels[index])


def augmented(image: Image.Image) -> Image.Image:
    """Return the image padded and cropped to its size again, and perhaps mirrored."""
    left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)  # noqa: S311
    width, height = image.size
    image = ImageOps.expand(image, PADDING).crop((left, top, left + width, top + height))
    return ImageOps.mirror(image) if random.random() < 0.5 else image  # noqa: S311


class TutorialLoop:
    """A network in training, by the book."""

    def __init__(self, recipe: Recipe, train: Split, batch_size: int, loader_workers: int) -> None:
        """Build the recipe's network, whitened where it is to be, and the loader."""
        self.network = build_network(recipe.network.architecture, recipe.network.options)
        self.network.initialize(torch.Generator().manual_seed(recipe.seed))
        if isinstance(self.network, AirNet):
            images = torch.from_numpy(train.images).permute(0, 3, 1, 2)
            self.network.set_whitening(*whitening_filters(images))
        self.loader = DataLoader(
            Images(train, augmented=True), batch_size, shuffle=True, num_workers=loader_workers
        )
        trained = (p for p in self.network.parameters() if p.requires_grad)
        self.optimizer = torch.optim.SGD(
            trained, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.criterion = torch.nn.CrossEntropyLoss()

    def epoch(self) -> Iterator[int]:
        """Train for an epoch; yield after each step the number of images it took."""
        self.network.train()
        running_loss = 0.0
        for images, labels in self.loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.network(images), labels)
            loss.backward()
            self.optimizer.step()
            running_loss += loss.item()
            yield len(labels)

    @torch.no_grad()
    def accuracy(self, test: Split) -> float:
        """Return the share of a test split that is classified right."""
        self.network.eval()
        right = 0
        for images, labels in DataLoader(Images(test, augmented=False), 500):
            right += int((self.network(images).argmax(dim=1) == labels).sum())
        return right / len(test.labels)
