"""What goes on in each layer: the distributions before the activations, and the gradients.

Measured on the probe batch before a step is taken, for every activation (one that is called more
than once at its last call) and for the logits:

    preactivation_p15, _p50, _p85    percentiles of the activation's inputs over units and images,
                                     in inference mode; the middle 70 %, as Ioffe and Szegedy draw
    ..._batch_statistics             the same with the batch's own statistics, as in training
    saturated_share                  of the outputs: sigmoid below .03 or above .97, tanh beyond
                                     ±.97
    dead_share                       of the units (channels): 0 on all of 2,000 training images

and for every layer with a kernel, of the mean loss of the probe batch,

    gradient_norm                    of the kernel; of the whole network under no layer's name
    gradient_norm_over_weight_norm   which the scale of the weights under a norm leaves alone

Reference:
    Ioffe and Szegedy 2015, arXiv:1502.03167, figure 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import nn

from training.data.augmentation import scale_images
from training.trainer.methods.losses import training_loss
from training.trainer.probes.probe import Bench, Probe, duplicate
from training.trainer.probes.statistics import batch_norms, with_batch_statistics

ACTIVATIONS = (nn.ELU, nn.GELU, nn.LeakyReLU, nn.ReLU, nn.Sigmoid, nn.SiLU, nn.Tanh)
PERCENTILES = (15, 50, 85)
SAMPLE = 100_000  # values of which percentiles are taken; torch sorts no more than 16 million
SATURATED = 0.97
DEAD_IMAGES = 2_000  # fewer would call rare units dead
DEAD_BATCH = 500

Found = Iterator[tuple[str, str, float]]


class LayerProbe(Probe):
    """Looks before a step and reports after it."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.found: list[tuple[str, str, float]] = []

    def before_step(self, network: nn.Module) -> None:
        """Measure every layer of the network as it is."""
        copied = duplicate(network).eval()
        self.found = [*self._distributions(copied), *self._dead(copied), *self._gradients(network)]

    def after_due_step(self, network: nn.Module) -> Found:
        """Yield what was measured before the step."""
        yield from self.found

    def _distributions(self, network: nn.Module) -> Found:
        images, _ = self.bench.batch()
        yield from _percentiles(network, images, "")
        if batch_norms(network):
            yield from _percentiles(with_batch_statistics(network), images, "_batch_statistics")

    @torch.no_grad()
    def _dead(self, network: nn.Module) -> Found:
        """Yield the share of units that are never above 0, of layers with a ReLU."""
        largest: dict[str, torch.Tensor] = {}

        def see(name: str, output: torch.Tensor) -> None:
            units = output.transpose(0, 1).flatten(1).amax(1)  # (units,)
            largest[name] = torch.maximum(largest.get(name, units), units)

        with ExitStack() as hooks:
            for name, layer in _activations(network, (nn.ReLU,)):
                _hook(hooks, layer, partial(see, name))
            for batch in self.bench.train.images[:DEAD_IMAGES].split(DEAD_BATCH):
                network(scale_images(batch).contiguous(memory_format=torch.channels_last))
        for name, units in largest.items():
            yield "dead_share", name, (units <= 0).float().mean().item()

    def _gradients(self, network: nn.Module) -> Found:
        """Yield the gradient norms in training mode."""
        copied = duplicate(network).train()
        images, labels = self.bench.batch()
        kernels = {
            name.removesuffix(".weight"): weight
            for name, weight in copied.named_parameters()
            if weight.ndim > 1 and weight.requires_grad
        }
        loss = training_loss(copied(images), labels, self.bench.recipe)
        gradients = torch.autograd.grad(loss, list(kernels.values()))
        norms = [gradient.norm().item() for gradient in gradients]
        for (name, weight), norm in zip(kernels.items(), norms, strict=True):
            yield "gradient_norm", name, norm
            yield "gradient_norm_over_weight_norm", name, norm / weight.norm().item()
        yield "gradient_norm", "", torch.tensor(norms).norm().item()


def _activations(
    network: nn.Module, kinds: tuple[type[nn.Module], ...] = ACTIVATIONS
) -> list[tuple[str, nn.Module]]:
    """Return the activations with the names of their layers: `conv1` for `conv1_relu`."""
    return [
        (name.rpartition("_")[0] or name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, kinds)
    ]


@torch.no_grad()
def _percentiles(network: nn.Module, images: torch.Tensor, suffix: str) -> Found:
    """Yield the percentiles of every activation's input and of the logits, and the saturation."""
    inputs: dict[str, torch.Tensor] = {}
    outputs: dict[str, tuple[nn.Module, torch.Tensor]] = {}
    with ExitStack() as hooks:
        for name, layer in _activations(network):
            hooks.callback(layer.register_forward_pre_hook(_keep(inputs, name)).remove)
            _hook(hooks, layer, partial(_keep_output, outputs, name, layer))
        inputs["logits"] = network(images)
    for name, values in inputs.items():
        flat = values.flatten()
        sample = flat[:: max(1, len(flat) // SAMPLE)].float()
        shares = torch.tensor([percent / 100 for percent in PERCENTILES], device=sample.device)
        for percent, value in zip(PERCENTILES, sample.quantile(shares), strict=True):
            yield f"preactivation_p{percent}{suffix}", name, value.item()
    for name, (layer, output) in outputs.items():
        share = _saturated(layer, output)
        if share is not None:
            yield f"saturated_share{suffix}", name, share


def _keep(
    kept: dict[str, torch.Tensor], name: str
) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
    def keep(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept[name] = inputs[0]

    return keep


def _keep_output(
    kept: dict[str, tuple[nn.Module, torch.Tensor]],
    name: str,
    layer: nn.Module,
    output: torch.Tensor,
) -> None:
    kept[name] = (layer, output)


def _hook(hooks: ExitStack, layer: nn.Module, see: Callable[[torch.Tensor], None]) -> None:
    """Show the layer's outputs to `see` until the stack is closed."""
    hooks.callback(layer.register_forward_hook(lambda _l, _i, output: see(output)).remove)


def _saturated(layer: nn.Module, output: torch.Tensor) -> float | None:
    """Return the share of saturated outputs; None of an activation that does not saturate."""
    if isinstance(layer, nn.Sigmoid):
        return ((output < 1 - SATURATED) | (output > SATURATED)).float().mean().item()
    if isinstance(layer, nn.Tanh):
        return (output.abs() > SATURATED).float().mean().item()
    return None
