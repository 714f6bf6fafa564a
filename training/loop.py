"""The training loop: one for every recipe and device.

A run is its recipe and its seed. Order, augmentation and dropout are drawn from generators that
every epoch seeds anew, so a run that was stopped goes on bit-identically on a CPU with the same
number of threads: between epochs nothing but weights and optimizer state need be kept, inside
one also the states of the generators.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from models.history import EpochRecord
from models.networks.keras_cnn import initialize_glorot
from training.augmentation import augment, scale_images
from training.checkpoint import Checkpoint, Progress
from training.errors import CheckpointError, DivergedError
from training.network import network_of
from training.optimization import build_optimizer, cross_entropy, learning_rate_at
from training.seeds import Stream, stream_generator, stream_seed

if TYPE_CHECKING:
    from training.data import Split
    from training.recipe import Recipe

EVALUATION_BATCH = 500
# A sync per step would idle a GPU; this often is soon enough to notice a loss that is not a number.
STEPS_BETWEEN_REPORTS = 25


class Observer(Protocol):
    """Told what happens; may raise `KeyboardInterrupt` at a step to stop the run there."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Take note of steps done; `epoch` and `step` count from 1, `loss` is the last step's."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Take note of a finished and measured epoch."""


@dataclass(frozen=True)
class DeviceSplit:
    """A dataset split on the device: images (N, 3, 32, 32) uint8, labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def place(cls, split: Split, device: torch.device) -> DeviceSplit:
        """Copy a split to the device."""
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2)  # still NHWC in memory
        return cls(images.to(device), torch.from_numpy(split.labels).to(device))


class TrainingRun:
    """A run in memory: network, optimizer and progress; `train_epoch` moves it on."""

    def __init__(self, recipe: Recipe, seed: int, device: torch.device) -> None:
        # Squared gradients of dead units decay into denormals, on which a CPU is 100 times slower.
        torch.set_flush_denormal(True)
        self.recipe = recipe
        self.seed = seed
        self.device = device
        network = network_of(recipe)
        initialize_glorot(network, stream_generator(seed, Stream.INITIALIZATION))
        self.network = network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network.parameters(), recipe.optimizer)
        self.progress = Progress()
        self.history: list[EpochRecord] = []
        self.sessions: list[dict[str, Any]] = []

    def train_epoch(self, train: DeviceSplit, test: DeviceSplit, observer: Observer) -> EpochRecord:
        """Finish the epoch under way, measure it on the test split and return its record.

        Raises:
            DivergedError: the loss is not finite.
            KeyboardInterrupt: raised by the observer; the run then stands between two steps.
        """
        self._train_steps(train, observer)
        progress = self.progress
        started = time.perf_counter()
        test_loss, test_accuracy = evaluate_network(
            self.network, test, self.recipe.probability_clip
        )
        self._check_finite(test_loss)  # the very last step may have broken the weights
        record = EpochRecord(
            epoch=progress.epoch + 1,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            train_loss=progress.loss_sum / len(train.labels),
            train_accuracy=progress.correct / len(train.labels),
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            train_seconds=round(progress.seconds, 3),
            test_seconds=round(time.perf_counter() - started, 3),
        )
        self.history.append(record)
        self.progress = Progress(epoch=progress.epoch + 1)
        observer.on_epoch(record)
        return record

    def _train_steps(self, train: DeviceSplit, observer: Observer) -> None:
        progress, recipe = self.progress, self.recipe
        order_generator = stream_generator(self.seed, Stream.ORDER, progress.epoch)
        order = torch.randperm(len(train.labels), generator=order_generator).to(self.device)
        batches = order.split(recipe.batch_size)  # the last one may be smaller, as in Keras
        generator = self._epoch_generator()
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.device)
        correct = torch.tensor(progress.correct, dtype=torch.int64, device=self.device)
        started = time.perf_counter() - progress.seconds
        self.network.train()
        for step in range(progress.step, len(batches)):
            self._set_learning_rate(progress.epoch * len(batches) + step)
            batch_loss, batch_correct = self._step(train, batches[step], generator)
            loss_sum += batch_loss.double() * len(batches[step])
            correct += batch_correct
            if (step + 1) % STEPS_BETWEEN_REPORTS and step + 1 < len(batches):
                continue
            progress.step = step + 1
            progress.loss_sum, progress.correct = loss_sum.item(), int(correct.item())
            progress.seconds = time.perf_counter() - started
            progress.augmentation_state = generator.get_state()
            progress.dropout_state = self._dropout_state()
            progress.device_type = self.device.type
            self._check_finite(batch_loss.item())
            observer.on_step(progress.epoch + 1, step + 1, len(batches), batch_loss.item())

    def _step(
        self, train: DeviceSplit, indices: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step; return its mean loss, () float32, and its correct answers, () int64."""
        labels = train.labels[indices]
        images = augment(scale_images(train.images[indices]), self.recipe.augmentation, generator)
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = cross_entropy(logits, labels, self.recipe.probability_clip)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def _set_learning_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.recipe.optimizer)

    def _epoch_generator(self) -> torch.Generator:
        """Seed dropout for the epoch and return the augmentation's generator, or restore both."""
        progress = self.progress
        generator = stream_generator(self.seed, Stream.AUGMENTATION, progress.epoch, self.device)
        torch.manual_seed(stream_seed(self.seed, Stream.DROPOUT, progress.epoch))
        if progress.augmentation_state is not None:
            generator.set_state(progress.augmentation_state)
        if progress.dropout_state is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(progress.dropout_state, self.device)
        elif progress.dropout_state is not None:
            torch.set_rng_state(progress.dropout_state)
        return generator

    def _dropout_state(self) -> torch.Tensor:
        # Dropout has no generator argument: it draws from the device's default one.
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.get_rng_state()

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss) and math.isfinite(self.progress.loss_sum):
            return
        rate = self.optimizer.param_groups[0]["lr"]
        raise DivergedError(
            f"the loss is {loss} in epoch {self.progress.epoch + 1}, step {self.progress.step}; "
            f"the likely cause is the learning rate {rate:.2g}, too high for this network: "
            "lower it. A checkpoint that was saved before is kept"
        )

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
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up a checkpoint of the same recipe and seed; the number of epochs may differ.

        Raises:
            CheckpointError: the checkpoint is of another run.
        """
        wanted = {**self.recipe.to_dict(), "seed": self.seed}
        found = {**checkpoint.recipe, "seed": checkpoint.seed}
        if checkpoint.progress.step and checkpoint.progress.device_type != self.device.type:
            raise CheckpointError(
                f"the run was stopped inside an epoch on {checkpoint.progress.device_type!r}, "
                f"whose random numbers {self.device.type!r} cannot continue; resume it with "
                f"--device {checkpoint.progress.device_type}"
            )
        for key in sorted(wanted.keys() | found.keys()):
            if key != "epochs" and wanted.get(key) != found.get(key):
                raise CheckpointError(
                    f"the checkpoint is of another run: its {key} is {found.get(key)!r}, "
                    f"here it is {wanted.get(key)!r}; use another --run-dir or the same {key}"
                )
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.progress = checkpoint.progress
        self.history = [EpochRecord(**row) for row in checkpoint.history]
        self.sessions = checkpoint.sessions


@torch.inference_mode()
def evaluate_network(
    network: torch.nn.Module, split: DeviceSplit, probability_clip: float
) -> tuple[float, float]:
    """Return mean loss and accuracy of the network in inference mode on un-augmented images."""
    network.eval()
    loss_sum, correct = 0.0, 0
    for images, labels in zip(
        split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True
    ):
        logits = network(scale_images(images).contiguous(memory_format=torch.channels_last))
        loss_sum += cross_entropy(logits, labels, probability_clip).item() * len(labels)
        correct += int((logits.argmax(dim=1) == labels).sum())
    return loss_sum / len(split.labels), correct / len(split.labels)
