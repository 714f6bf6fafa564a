"""PreciseBN: new statistics for the batch norms of a finished network.

The running statistics of training are a moving average over the last few batches, of augmented
images and of weights that still moved. Served images are not augmented and the weights are fixed,
so each batch norm's mean and variance are measured again, as plain means over batches of training
images as they are.

Reference:
    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

from training.data.augmentation import scale_images

# The spread of a channel's mean over so many pixels is far below what a float32 output shows.
IMAGES = 25_000


@torch.no_grad()
def apply_precise_bn(
    network: nn.Module,
    images: torch.Tensor,
    autocast: AbstractContextManager[object],
    *,
    batch_size: int = 500,
) -> int:
    """Measure every batch norm's statistics on images (N, 3, H, W) uint8; return how many used.

    The first `IMAGES` are run through, all norms at once in training mode and everything else, as
    dropout, in inference mode, under `autocast`. A network without batch norm is left alone.
    """
    norms = [
        layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean over all batches
        norm.train()
    used = images[:IMAGES]
    # A last smaller batch would weigh as much as the others.
    for batch in used.split(batch_size)[: max(1, len(used) // batch_size)]:
        with autocast:
            network(scale_images(batch).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    return min(len(used), max(batch_size, len(used) // batch_size * batch_size))
