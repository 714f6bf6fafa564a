"""A model as onnxruntime runs it at one of its optimization levels."""

from __future__ import annotations

import ctypes
import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.errors import GraphError
from training.evaluation.onnx_runner import Optimization, first_line, open_session
from training.folding.onnx_frontend import write_model
from training.folding.proof.inputs.seeded import Feed
from training.folding.proof.running.precision import in_precision, lowest_precision

Array = NDArray[Any]


@contextmanager
def written(model: ir.Model) -> Iterator[Path]:
    """Give a model as a file that onnxruntime can run on the CPU.

    bfloat16, which onnxruntime has no kernels for there, is computed in float32: the weights are
    exact in it.
    """
    if is_widened(model):
        model = in_precision(model, ir.DataType.FLOAT)
    with tempfile.TemporaryDirectory(prefix="foldnorm-") as folder:
        path = Path(folder, "model.onnx")
        write_model(model, path)
        yield path


def give_back_memory() -> None:
    """Return what is freed to the system: glibc keeps it, and the next model needs other sizes."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def is_widened(model: ir.Model) -> bool:
    """Whether a model is computed in a wider type than its own."""
    return lowest_precision(model).name == "bfloat16"


class Session:
    """A model that is loaded.

    Raises:
        GraphError: onnxruntime cannot load it.
    """

    def __init__(self, path: Path, optimization: Optimization) -> None:
        self._session = open_session(path, optimization, arena=False)
        self._outputs = [one.name for one in self._session.get_outputs()]

    def run(self, feed: Feed) -> dict[str, Array]:
        """Return the outputs by name; of a sequence each tensor, as `y[0]`.

        Raises:
            GraphError: the model does not take these inputs.
        """
        kinds = {one.name: one.type for one in self._session.get_inputs()}
        arrays = {
            name: array.astype(np.float32) if kinds[name] == "tensor(float)" else array
            for name, array in feed.arrays.items()
            if name in kinds
        }
        try:
            results = self._session.run(None, arrays)
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise GraphError(f"onnxruntime cannot run it: {first_line(error)}") from error
        return named_tensors(self._outputs, results)


def named_tensors(names: Sequence[str], results: Sequence[Any]) -> dict[str, Array]:
    """Return results by name; an empty optional is left out."""
    tensors: dict[str, Array] = {}
    for name, result in zip(names, results, strict=True):
        if isinstance(result, list):
            tensors |= {f"{name}[{place}]": np.asarray(one) for place, one in enumerate(result)}
            tensors[f"len({name})"] = np.array(len(result))
        elif result is not None:
            tensors[name] = np.asarray(result)
    return tensors
