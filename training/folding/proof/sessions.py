"""A model as onnxruntime runs it, at one or more of its optimization levels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from training.errors import FoldError, GraphError
from training.evaluation.onnx_runner import Optimization, first_line, open_session
from training.folding.onnx_frontend import write_model
from training.folding.proof.inputs import Feed
from training.folding.proof.precision import in_precision, lowest_precision


class Runner:
    """A model on the CPU.

    bfloat16, which onnxruntime has no kernels for there, is computed in float32: the weights are
    exact in it.

    Raises:
        FoldError: onnxruntime cannot load the model.
    """

    def __init__(self, model: ir.Model, optimizations: Sequence[Optimization]) -> None:
        self.widened = lowest_precision(model).name == "bfloat16"
        if self.widened:
            model = in_precision(model, ir.DataType.FLOAT)
        with tempfile.TemporaryDirectory(prefix="foldnorm-") as folder:
            path = Path(folder, "model.onnx")
            write_model(model, path)
            self._sessions = [_session(path, one) for one in optimizations]

    def run(self, feed: Feed) -> list[list[NDArray[Any]]]:
        """Return the outputs at each of the levels.

        Raises:
            GraphError: the model does not take these inputs.
        """
        return [_run(session, feed) for session in self._sessions]


def _session(path: Path, optimization: Optimization) -> onnxruntime.InferenceSession:
    try:
        return open_session(path, optimization)
    except GraphError as error:
        raise FoldError(f"the proof needs onnxruntime, but {error}") from error


def _run(session: onnxruntime.InferenceSession, feed: Feed) -> list[NDArray[Any]]:
    kinds = {one.name: one.type for one in session.get_inputs()}
    arrays = {
        name: array.astype(np.float32) if kinds[name] == "tensor(float)" else array
        for name, array in feed.arrays.items()
    }
    try:
        return [np.asarray(one) for one in session.run(None, arrays)]
    except Exception as error:  # onnxruntime's exceptions share no other base
        raise GraphError(f"onnxruntime cannot run it: {first_line(error)}") from error
