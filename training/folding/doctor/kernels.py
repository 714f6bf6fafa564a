"""Kernels with values that are no numbers, as a training leaves them that diverged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.doctor.finding import Finding

Kernels = Iterable[tuple[str, NDArray[np.floating]]]  # by name, each of two dimensions or more


def kernels_of_model(model: ir.Model) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield the kernels of an ONNX model, one at a time, for they may be large."""
    for graph in (*model.graph.subgraphs(), model.graph):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point() and len(tensor.shape) > 1:
                yield name, tensor.numpy()


def kernel_findings(kernels: Kernels) -> list[Finding]:
    """Return an error for each kernel that is not finite."""
    return [
        Finding(
            "error",
            "not_finite",
            name,
            f"{broken:,} of {array.size:,} weights are no finite numbers",
            "its training diverged, or the file was damaged; go back to a checkpoint before that, "
            "or train again with a lower learning rate",
        )
        for name, array in kernels
        if (broken := int(array.size - np.count_nonzero(np.isfinite(array))))
    ]
