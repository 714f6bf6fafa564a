"""Images in, scores out: the seam behind which a network runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.tensors import SCORE_NAMES, ImageSpec
from service.errors import ModelRefusedError
from service.inference.providers import CPU, CUDA, Provider
from service.settings import Optimization

onnxruntime.disable_telemetry_events()  # no usage data is sent
FATAL = 4  # everything below comes as an exception anyway

_LEVELS = {
    "disable_all": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "enable_all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True)
class Scores:
    """Logits and probabilities, (N, classes) float32 each."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def split(self, sizes: Sequence[int]) -> list[Scores]:
        """Return consecutive slices of these sizes."""
        ends = np.cumsum(sizes)
        return [
            Scores(self.logits[end - size : end], self.probabilities[end - size : end])
            for size, end in zip(sizes, ends, strict=True)
        ]


class Session(Protocol):
    """A network that is ready to run; called from several threads."""

    def run(self, images: NDArray[np.uint8]) -> Scores:
        """Return the scores of images (N, H, W, C)."""


class OrtSession:
    """A graph in onnxruntime, run in the thread that calls it.

    The threads are the engine's, shared by all models; a pool of its own in each session would
    compete with them. Memory goes back after each run: an arena would keep the peak of the largest
    batch, once for every model. CUDA computes in full float32, so that its answers are the proven
    ones, and chooses cuDNN's algorithms by its heuristic: it would try them all for every number of
    images, at 0.14 of the speed (docs/operation.md).

    Raises:
        ModelRefusedError: onnxruntime cannot load the graph, or its interface is another one.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        spec: ImageSpec,
        classes: int,
        provider: Provider,
        optimization: Optimization,
    ) -> None:
        onnxruntime.set_default_logger_severity(FATAL)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL
        options.graph_optimization_level = _LEVELS[optimization]
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=_provider_options(provider)
            )
        except Exception as exc:
            raise ModelRefusedError(f"onnxruntime cannot load the graph: {exc}") from exc
        self._input = spec.name
        _check_interface(self._session, spec, classes)

    def run(self, images: NDArray[np.uint8]) -> Scores:
        """Return the scores of images (N, H, W, C)."""
        logits, probabilities = self._session.run(SCORE_NAMES, {self._input: images})
        return Scores(logits, probabilities)


def _provider_options(provider: Provider) -> list[Any]:
    if provider.name == CUDA:
        return [(CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}), CPU]
    return [CPU]


def _check_interface(session: onnxruntime.InferenceSession, spec: ImageSpec, classes: int) -> None:
    """Compare the graph's inputs and outputs with what the manifest says of them.

    An axis that the graph leaves open fits; the golden images show its size.
    """
    inputs = [(node.name, node.type, node.shape[1:]) for node in session.get_inputs()]
    if inputs != [(spec.name, "tensor(uint8)", list(spec.image_shape))]:
        raise ModelRefusedError(
            f"the graph takes {inputs} and its manifest says {spec.name} uint8 "
            f"[N, {', '.join(map(str, spec.image_shape))}]; export it again"
        )
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    for name in SCORE_NAMES:
        kind, shape = outputs.get(name, ("missing", []))
        fits = len(shape) == 1 and (shape[0] == classes or not isinstance(shape[0], int))
        if kind != "tensor(float)" or not fits:
            raise ModelRefusedError(
                f"the graph's output {name} is {kind} {shape} and its manifest has {classes} "
                f"labels: it must be float [N, {classes}]; export it again"
            )
