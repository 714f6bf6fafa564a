"""A network of timm's with a checkpoint of its weights, as timm itself reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.errors import ExportError


def load_timm(name: str, checkpoint: Path | None, classes: int) -> tuple[nn.Module, torch.Tensor]:
    """Return a network in inference mode, and an example of its input, (2, C, H, W) float32.

    Raises:
        ExportError: timm is not installed, does not know the network, or the weights do not fit.
    """
    try:
        import timm  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise ExportError(
            "--timm needs the package 'timm'; install it with: pip install timm"
        ) from error
    if checkpoint is not None and not checkpoint.is_file():
        raise ExportError(f"--checkpoint {checkpoint}: no such file; name the weights")
    given: dict[str, Any] = {} if checkpoint is None else {"checkpoint_path": str(checkpoint)}
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=checkpoint is None, num_classes=classes, **given
        )
    except Exception as error:  # timm, the hub and torch's loader have errors of their own
        reason = str(error).partition("\n")[0]
        raise ExportError(
            f"timm cannot make {name} of {checkpoint or 'its hub'}: {reason}"
        ) from error
    size = network.pretrained_cfg["input_size"]  # type: ignore[index]
    return network.eval(), torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
