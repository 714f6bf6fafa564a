"""Tensors of torch as arrays of numpy, and back; bfloat16 too, which numpy alone does not have."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from training.folding.algebra.rounding import rounded


def float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Return a tensor of any float type, on any device, in float64."""
    return tensor.detach().cpu().double().numpy()


def in_own_dtype(tensor: torch.Tensor) -> NDArray[np.floating]:
    """Return a tensor's numbers in its own type."""
    values = tensor.detach().cpu().contiguous()
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return values.numpy()


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """Return numpy's type for one of torch's."""
    return in_own_dtype(torch.empty(0, dtype=dtype)).dtype


def tensor_like(values: NDArray[np.floating], like: torch.Tensor) -> torch.Tensor:
    """Return numbers as a tensor, rounded once to the type of another and on its device."""
    own = np.array(rounded(values.astype(np.float64), numpy_dtype(like.dtype)), order="C")
    if like.dtype == torch.bfloat16:
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16).to(like.device)
    return torch.from_numpy(own).to(like.device)
