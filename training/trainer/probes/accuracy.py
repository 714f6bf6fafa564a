"""Accuracy after an epoch that the learning curve does not hold: held-out images, PreciseBN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from training.trainer.evaluate import evaluate_network
from training.trainer.methods.precise_bn import apply_precise_bn
from training.trainer.probes.probe import Bench, Probe, duplicate


class AccuracyProbe(Probe):
    """Loss and accuracy on the held-out images, and test accuracy with statistics made anew."""

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
            loss, accuracy = evaluate_network(copied, bench.held_out, clip, self.autocast)
            yield "held_out_loss", "", loss
            yield "held_out_accuracy", "", accuracy
        images = bench.train.images[: bench.recipe.probes.precise_bn]
        if len(images) and apply_precise_bn(copied, images, self.autocast):
            _, accuracy = evaluate_network(copied, bench.test, clip, self.autocast)
            yield "precise_bn_accuracy", "", accuracy
