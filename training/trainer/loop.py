"""The training loop: one for every recipe and device.

A run is its recipe and its seed. Order, augmentation and dropout are drawn from generators that
every epoch seeds anew, so a run that was stopped goes on bit-identically on a CPU with the same
number of threads: between epochs nothing but weights and optimizer state need be kept, inside
one also the states of the generators.
"""

from __future__ import annotations

import math
import time
from typing import Protocol

import torch
from torch import nn

from models.history import EpochRecord
from models.networks import AirNet
from training.data.device_split import DeviceSplit
from training.data.transforms import resize
from training.errors import DivergedError
from training.recipes import Recipe
from training.trainer.device import Forward, compile_step
from training.trainer.distributed import Workers
from training.trainer.evaluate import Measured, RunResult, evaluate_network
from training.trainer.methods.losses import training_loss
from training.trainer.methods.patch_whitening import whitening_filters
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.networks import check_batches
from training.trainer.probes.probe import Bench
from training.trainer.run.checkpoint import Progress
from training.trainer.run.run_state import RunState
from training.trainer.step_graphs import StepGraphs

# Of what a recipe and a seed make: raised when the same ones begin to give other weights.
TRAINER_VERSION = 1

# A sync per step would idle a GPU; this often is soon enough to notice a loss that is not a number.
# A CPU waits for each of its long steps anyway, and so may a person who stops it.
STEPS_BETWEEN_REPORTS = {"cuda": 25, "cpu": 1}


class StoppedError(Exception):
    """The observer asked to stop: the run stands between two steps, and can be saved."""


class Observer(Protocol):
    """Watches a run."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> bool | None:
        """Receive the steps done: `epoch` and `step` count from 1, `loss` is the last step's.

        Returns whether to stop here. Of several processes one that wants to stops all; the last
        step of an epoch is too late, since the epoch is done.
        """


class TrainingRun(RunState):
    """A run in memory; `train_epoch` moves it on."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        *,
        precision: torch.dtype = torch.float32,
        workers: Workers = Workers(),  # noqa: B008 - frozen
        compiled: bool = False,
    ) -> None:
        """Build the network of a recipe; `prepare` makes it ready for the data.

        `precision` is that of products and activations, `compiled` has torch.compile generate the
        training step's kernels.
        """
        # Squared gradients of dead units decay into denormals, on which a CPU is 100 times slower.
        torch.set_flush_denormal(True)
        super().__init__(recipe, seed, device, precision)
        self.workers = workers
        replica = workers.replicate(self.network, device)
        self.forward: Forward = compile_step(replica) if compiled else replica
        # Compiled kernels are launched by Python, and several processes meet within a step.
        self.captures = self.optimizer.capturable and not compiled and workers.size == 1
        self.steps_between_reports = STEPS_BETWEEN_REPORTS.get(device.type, 1)
        self.answers = 0  # how many classes it ever answered when it was last measured

    def prepare(
        self, train: DeviceSplit, test: DeviceSplit, held_out: DeviceSplit | None = None
    ) -> None:
        """Fit what is computed from the data before the first step, and set up the probes.

        Raises:
            RecipeError: the batches are too small, or too few.
        """
        sizes = [len(indices) for indices in self.draws.batches(train, self.progress.epoch)]
        check_batches(self.recipe, self.network, sizes, self.workers.size)
        self.probing.attach(Bench(self.recipe, train, test, held_out))
        begins = self.progress.at_start and not self.origin
        if begins and isinstance(self.network, AirNet):
            self.network.set_whitening(*whitening_filters(train.images))
            if self.average:
                self.average.begin()

    def train_epoch(self, train: DeviceSplit, test: DeviceSplit, observer: Observer) -> EpochRecord:
        """Finish the epoch under way, measure it on the test split and return its record.

        The last epoch also takes over the average, applies PreciseBN, if the recipe says so, and
        measures the result.

        Raises:
            DivergedError: the loss is not finite.
            StoppedError: the observer asked for it.
        """
        self._train_steps(train, observer)
        progress = self.progress
        before = None
        if progress.epoch + 1 == self.recipe.epochs:
            before = self._complete(train, test)
        started = time.perf_counter()
        measured = self.evaluate(test)
        self._check_finite(measured.loss)  # the very last step may have broken the weights
        record = EpochRecord(
            epoch=progress.epoch + 1,
            learning_rate=self.optimizer.learning_rate,
            train_loss=progress.loss_sum / len(train.labels),
            train_accuracy=progress.correct / len(train.labels),
            test_loss=measured.loss,
            test_accuracy=measured.accuracy,
            train_seconds=round(progress.seconds, 3),
            test_seconds=round(time.perf_counter() - started, 3),
        )
        self.answers = measured.answers
        self.history.append(record)
        self.probing.after_epoch(record.epoch, len(self.draws.batches(train, progress.epoch)))
        self.progress = Progress(epoch=progress.epoch + 1)
        self.result = self._measure_result(record, before, test) if self.finished else None
        return record

    def _complete(self, train: DeviceSplit, test: DeviceSplit) -> float | None:
        """Do what comes after the last step; return the accuracy before PreciseBN, if it ran."""
        started = time.perf_counter()
        if self.average:
            self.average.take_over()
        self.progress.seconds += time.perf_counter() - started
        if not self.recipe.recalibrate:
            return None
        accuracy = self.evaluate(test).accuracy
        started = time.perf_counter()
        apply_precise_bn(self.network, train.images, self.autocast)
        self.progress.seconds += time.perf_counter() - started
        return accuracy

    def _measure_result(
        self, record: EpochRecord, before: float | None, test: DeviceSplit
    ) -> RunResult:
        averaged = evaluate_network(self.network, test, 0.0, self.autocast, augmented=True)
        return RunResult(
            seed=self.seed,
            epochs=record.epoch,
            single_view_accuracy=record.test_accuracy,
            six_view_accuracy=averaged.accuracy,
            accuracy_before_recalibration=before,
            train_seconds=round(sum(row.train_seconds for row in self.history), 3),
        )

    def evaluate(self, test: DeviceSplit) -> Measured:
        """Measure the network as it is, one view of each image."""
        return evaluate_network(self.network, test, self.recipe.probability_clip, self.autocast)

    def _train_steps(self, train: DeviceSplit, observer: Observer) -> None:
        progress, recipe = self.progress, self.recipe
        batches = self.draws.batches(train, progress.epoch)
        augmentation = self.draws.begin(train, progress)
        # Of a resumed epoch the leader holds the sums so far.
        resumed = self.workers.leads
        loss_sum = torch.tensor(
            progress.loss_sum * resumed, dtype=torch.float64, device=self.device
        )
        correct = torch.tensor(progress.correct * resumed, dtype=torch.int64, device=self.device)
        # What the probes cost is no training time.
        started = time.perf_counter() - progress.seconds - self.probing.seconds
        self.network.train()

        def take(indices: torch.Tensor, side: int) -> torch.Tensor:
            images = resize(augmentation.batch(indices), side)  # (B, 3, H, W) float32
            batch_loss, batch_correct = self.step(images, train.labels[indices])
            loss_sum.add_(batch_loss.double() * self.workers.share_size(len(indices)))
            correct.add_(batch_correct)
            return batch_loss

        if self.captures and not self.probing.probes:  # they read what a step leaves behind
            take = StepGraphs(take, augmentation.generator)
        for step in range(progress.step, len(batches)):
            now, steps = progress.epoch * len(batches) + step, recipe.epochs * len(batches)
            self.optimizer.set_learning_rates(now, steps)
            self.probing.before_step(now)
            batch_loss = take(batches[step], recipe.side_at(now / steps, train.images.shape[-1]))
            self.probing.after_step(now, len(batches))
            if self.average:
                self.average.after_step(now, steps)
            if (step + 1) % self.steps_between_reports and step + 1 < len(batches):
                continue
            progress.step = step + 1
            stops = observer.on_step(progress.epoch + 1, step + 1, len(batches), batch_loss.item())
            sums = torch.stack([loss_sum, correct.double(), loss_sum.new_tensor(bool(stops))])
            progress.loss_sum, answers, stopping = self.workers.total(sums).tolist()
            progress.correct = int(answers)
            progress.seconds = time.perf_counter() - started - self.probing.seconds
            self.draws.keep(augmentation, progress)
            self._check_finite(progress.loss_sum)
            if stopping and step + 1 < len(batches):
                raise StoppedError

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step on this process' share of a batch.

        images (B, 3, H, W) float32, labels (B,) int64, of the whole batch.

        Returns the share's mean loss, () float32, and its correct answers, () int64.
        """
        # The processes' gradients are averaged: that gives the batch's mean if shares are weighted.
        weight = self.workers.share_size(len(labels)) * self.workers.size / len(labels)
        images, labels = self.workers.share(images), self.workers.share(labels)
        with self.autocast:
            logits = self.forward(images.contiguous(memory_format=torch.channels_last)).float()
        loss = training_loss(logits, labels, self.recipe)
        self.optimizer.zero_grad()
        (loss * weight).backward()
        if self.recipe.gradient_clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss) and math.isfinite(self.progress.loss_sum):
            return
        rate = self.optimizer.learning_rate
        raise DivergedError(
            f"the loss is {loss} in epoch {self.progress.epoch + 1}, step {self.progress.step}; "
            f"the likely cause is the learning rate {rate:.2g}, too high for this network: "
            "lower it. A checkpoint that was saved before is kept"
        )
