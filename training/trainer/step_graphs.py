"""Training steps as CUDA graphs: a GPU waits for Python where batches are small.

A step of the Keras network on 32 images is some 150 kernels of microseconds each. Captured once and
replayed, they are launched together; random numbers, statistics and optimizer go on as without.

Reference:
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UP = 3  # steps of a shape that run as they are: libraries set themselves up in the first ones

Body = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class _Captured:
    """A graph, what it reads and what it leaves."""

    graph: torch.cuda.CUDAGraph
    indices: torch.Tensor  # (B,) int64
    loss: torch.Tensor  # () float32


class StepGraphs:
    """The steps of one epoch: those of a batch size and image side are captured together.

    A graph holds the addresses of what an epoch draws, and is not kept beyond it.
    """

    def __init__(self, body: Body, generator: torch.Generator) -> None:
        """Take what makes a step of (B,) indices and the images' side, and returns its loss.

        `generator` is the one, beside the device's own, that it draws from.
        """
        self.body = body
        self.generator = generator
        self.captured: dict[tuple[int, int], _Captured] = {}
        self.seen: Counter[tuple[int, int]] = Counter()

    def __call__(self, indices: torch.Tensor, side: int) -> torch.Tensor:
        """Take one step and return its loss, () float32, which the next step overwrites."""
        shape = (len(indices), side)
        self.seen[shape] += 1
        if self.seen[shape] <= WARM_UP:
            return self.body(indices, side)
        if shape not in self.captured:
            self.captured[shape] = self._capture(indices, side)
        held = self.captured[shape]
        held.indices.copy_(indices)
        held.graph.replay()
        return held.loss

    def _capture(self, indices: torch.Tensor, side: int) -> _Captured:
        graph, held = torch.cuda.CUDAGraph(), indices.clone()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            loss = self.body(held, side)
        return _Captured(graph, held, loss)
