"""Accuracies that the learning curve does not hold: held-out images, PreciseBN, the gap."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from training.data.device_split import DeviceSplit
from training.trainer.evaluate import evaluate_network
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.probes.probe import Bench, Probe, duplicate

GAP_IMAGES = 5_000  # training images, un-augmented


class AccuracyProbe(Probe):
    """Loss and accuracy on the held-out images, and test accuracy with statistics made anew.

    At the recipe's points also the gap between training and test images, both as they are and in
    inference mode: the running training accuracy is of augmented images and of weights that moved.
    """

    def __init__(self, bench: Bench, autocast: torch.autocast) -> None:
        super().__init__(bench)
        self.autocast = autocast

    def after_epoch(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield `held_out_loss`, `held_out_accuracy` and `precise_bn_accuracy`, where they apply.

        A network without batch norm has no statistics: nothing is yielded for it.
        """
        bench, clip = self.bench, self.bench.recipe.probability_clip
        copied = duplicate(network)
        if bench.held_out is not None:
            loss, accuracy, _ = evaluate_network(copied, bench.held_out, clip, self.autocast)
            yield "held_out_loss", "", loss
            yield "held_out_accuracy", "", accuracy
        images = bench.train.images[: bench.recipe.probes.precise_bn]
        if len(images) and apply_precise_bn(copied, images, self.autocast):
            accuracy = evaluate_network(copied, bench.test, clip, self.autocast).accuracy
            yield "precise_bn_accuracy", "", accuracy

    def at_point(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield `train_accuracy`, `test_accuracy` and `train_test_gap`, their difference."""
        bench, clip = self.bench, self.bench.recipe.probability_clip
        copied = duplicate(network)
        train = DeviceSplit(bench.train.images[:GAP_IMAGES], bench.train.labels[:GAP_IMAGES])
        on_train = evaluate_network(copied, train, clip, self.autocast).accuracy
        on_test = evaluate_network(copied, bench.test, clip, self.autocast).accuracy
        yield "train_accuracy", "", on_train
        yield "test_accuracy", "", on_test
        yield "train_test_gap", "", on_train - on_test
