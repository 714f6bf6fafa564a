"""What the statistics of the batch norms do to the answers: how they are estimated, and when.

    PreciseBN        test accuracy with statistics estimated anew on N training images
    other momenta    test accuracy with running averages of other momenta, kept beside the training
    training mode    test accuracy where each batch of 32 is normalized by itself, of all classes
                     or of one
    neighbours       how many answers to the same images change with what else is in the batch

Reference:
    Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from training.data.augmentation import scale_images
from training.trainer.evaluate import evaluate_network
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.probes.probe import Bench, Probe, duplicate

PRECISE_IMAGES = (64, 256, 1_000, 4_000, 16_000)
OTHER_MOMENTA = (0.1, 0.001)
TRAINING_BATCH = 32
LEAKAGE_IMAGES = 512  # half of each batch are these, half are neighbours


class StatisticsProbe(Probe):
    """Measures after epochs 1, 2, 4, 8, … and after the last one of the recipe."""

    def __init__(self, bench: Bench, network: nn.Module, autocast: torch.autocast) -> None:
        super().__init__(bench)
        self.autocast = autocast
        self.epochs = 0
        self.running = _running(network)  # (2 * channels,) float32
        self.averages = {momentum: self.running.clone() for momentum in OTHER_MOMENTA}

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Follow the batch's statistics with the other momenta.

        They are read off the running average itself, new = (1 - m) old + m batch, which costs no
        second pass and loses two digits of float32.
        """
        norms = batch_norms(network)
        if not norms:
            return
        momentum, now = norms[0].momentum or 0.0, _running(network)
        batch = (now - (1 - momentum) * self.running) / momentum
        for other, average in self.averages.items():
            average.lerp_(batch, other)
        self.running = now

    def after_epoch(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield the accuracies and the number of changed answers."""
        self.epochs += 1
        last = self.epochs == self.bench.recipe.epochs
        if not batch_norms(network) or not (last or self.epochs & (self.epochs - 1) == 0):
            return
        for count in PRECISE_IMAGES:
            copied = duplicate(network)
            images = self.bench.train.images[:count]
            if len(images) == count:
                batch_size = min(count, 500)
                apply_precise_bn(copied, images, self.autocast, batch_size=batch_size)
                yield f"precise_bn_accuracy_{count}_images", "", self._accuracy(copied)
        for momentum, average in self.averages.items():
            copied = duplicate(network)
            _set_running(copied, average)
            yield f"accuracy_momentum_{momentum:g}", "", self._accuracy(copied)
        yield "training_mode_accuracy", "", self._training_mode_accuracy(network, by_class=False)
        yield (
            "training_mode_accuracy_by_class",
            "",
            self._training_mode_accuracy(network, by_class=True),
        )
        yield "answers_changed_by_neighbours", "", self._changed(network, training=True)
        yield "answers_changed_in_inference_mode", "", self._changed(network, training=False)

    def _accuracy(self, network: nn.Module) -> float:
        clip = self.bench.recipe.probability_clip
        return evaluate_network(network, self.bench.test, clip, self.autocast).accuracy

    @torch.no_grad()
    def _training_mode_accuracy(self, network: nn.Module, *, by_class: bool) -> float:
        """Return the test accuracy where every batch norm uses the batch's own statistics."""
        test = self.bench.test
        order = torch.randperm(len(test.labels), device=test.labels.device)
        if by_class:
            order = order[test.labels[order].argsort(stable=True)]
        copied, correct = with_batch_statistics(network), 0
        for indices in order.split(TRAINING_BATCH):
            answers = self._answers(copied, test.images[indices])
            correct += int((answers == test.labels[indices]).sum())
        return correct / len(order)

    @torch.no_grad()
    def _changed(self, network: nn.Module, *, training: bool) -> float:
        """Return of how many images the answer is not the same beside three kinds of neighbours.

        Beside other test images, black ones, and images of one class.
        """
        test, half = self.bench.test, TRAINING_BATCH // 2
        images = test.images[:LEAKAGE_IMAGES]
        others = test.images[LEAKAGE_IMAGES:]
        one_class = others[test.labels[LEAKAGE_IMAGES:] == 0]
        copied = with_batch_statistics(network) if training else duplicate(network).eval()
        changed = 0
        for start in range(0, len(images), half):
            batch = images[start : start + half]
            kinds = (others[start : start + half], torch.zeros_like(batch), one_class[:half])
            answers = torch.stack(
                [self._answers(copied, torch.cat([batch, kind]))[: len(batch)] for kind in kinds]
            )  # (kinds, B)
            changed += int((answers != answers[0]).any(dim=0).sum())
        return float(changed)

    def _answers(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with self.autocast:
            inputs = scale_images(images).contiguous(memory_format=torch.channels_last)
            logits: torch.Tensor = network(inputs)
        return logits.argmax(dim=1)

    def state(self) -> Mapping[str, torch.Tensor]:
        """Return the averages of the other momenta."""
        kept = {f"{momentum:g}": average for momentum, average in self.averages.items()}
        return {"running": self.running, "epochs": torch.tensor(self.epochs), **kept}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up the averages of a stopped run."""
        self.running = state["running"].to(self.running.device)
        self.epochs = int(state["epochs"])
        for momentum in self.averages:
            self.averages[momentum] = state[f"{momentum:g}"].to(self.running.device)


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the batch norms of a network, in its order."""
    return [
        layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]


def with_batch_statistics(network: nn.Module) -> nn.Module:
    """Return a copy in inference mode, but for batch norms, which use each batch's statistics."""
    copied = duplicate(network).eval()
    for norm in batch_norms(copied):
        norm.train()
    return copied


def _buffers(network: nn.Module) -> list[torch.Tensor]:
    return [
        buffer
        for norm in batch_norms(network)
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    ]


def _running(network: nn.Module) -> torch.Tensor:
    """Return all running means and variances, (2 * channels,) float32."""
    buffers = _buffers(network)
    return torch.cat(buffers) if buffers else torch.zeros(0)


@torch.no_grad()
def _set_running(network: nn.Module, values: torch.Tensor) -> None:
    buffers = _buffers(network)
    for buffer, part in zip(buffers, values.split([len(b) for b in buffers]), strict=True):
        buffer.copy_(part)
