"""torch = unfolded graph = folded graph, on the whole test set: the evidence behind an artifact.

The algebra of the fold is proved twice, once with each front end of the folding engine. On the test
images the torch network is folded in float64 and compared with itself unfolded: that is the network
as it was trained, with its eps in full, which a graph holds in float32 only. On the adversarial
inputs the unfolded graph is folded in float64, by the very code that folded the served one, and
both are computed by the reference implementation of ONNX.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir
import torch
from numpy.typing import NDArray
from torch import nn

from models.manifest import FoldProof
from models.tensors import INPUT_NAME
from training.evaluation.onnx_runner import BATCH_SIZE, GraphRunner
from training.export.served_network import ServedNetwork
from training.folding.onnx_frontend import fold_model
from training.folding.proof.inputs.adversarial import adversarial_images
from training.folding.proof.running.precision import in_float64
from training.folding.proof.running.reference import Reference
from training.folding.proof.tolerances import (
    FourLogits,
    label_changes,
    largest_difference,
    rounding_allowance,
)
from training.folding.torch_frontend import fold_network
from training.release.fold_proof import prove


@dataclass(frozen=True)
class TorchAgreement:
    """A graph against the torch network that it was exported from, as largest logit errors."""

    images: int
    scale: float
    torch_error_float32: float
    graph_error_float32: float
    label_changes: int
    unexplained_label_changes: int

    @property
    def holds(self) -> bool:
        """Whether the graph is as near to the float64 truth as torch's own rounding allows."""
        allowance = rounding_allowance(self.torch_error_float32, self.scale)
        finite = math.isfinite(self.scale) and math.isfinite(self.torch_error_float32)
        close = self.graph_error_float32 <= allowance
        return finite and close and not self.unexplained_label_changes


@dataclass(frozen=True)
class Verification:
    """What was proved of an artifact: its graph is the torch network, its fold changed nothing."""

    torch: TorchAgreement
    fold: FoldProof | None

    @property
    def holds(self) -> bool:
        """Whether every part of it holds."""
        return self.torch.holds and (self.fold is None or self.fold.holds)


def verify_graphs(
    network: nn.Module,
    unfolded: bytes,
    folded: bytes | None,
    images: NDArray[np.uint8],
) -> Verification:
    """Compare a torch network in inference mode with its graphs on images (N, H, W, 3).

    `unfolded` is the graph that was exported as the network stands; `folded` the one without
    batch norm, None for a network that has none. Both run unoptimized but for the folded one,
    which runs as it is served.
    """
    truth = exact_logits(network, images)
    unfolded_runner = GraphRunner(unfolded, "disable_all")
    unfolded_logits = unfolded_runner.logits(images)
    agreement = _torch_agreement(truth, float32_logits(network, images), unfolded_logits)
    if folded is None:
        return Verification(agreement, None)
    height, width, channels = images.shape[1:]
    example = torch.zeros(2, channels, height, width, dtype=torch.float64)
    algebra = fold_network(double(network), example).network
    folded_runner = GraphRunner(folded, "enable_all")
    test = FourLogits(
        truth, exact_logits(algebra, images), unfolded_logits, folded_runner.logits(images)
    )
    adversarial = adversarial_images(images.shape[1:])
    exact = in_float64(onnx_ir.from_proto(onnx.load_from_string(unfolded)))
    adversarial_logits = FourLogits(
        _reference_logits(exact, adversarial),
        _reference_logits(fold_model(exact).model, adversarial),
        unfolded_runner.logits(adversarial),
        folded_runner.logits(adversarial),
    )
    return Verification(agreement, prove(test, adversarial_logits))


def double(network: nn.Module) -> nn.Module:
    """Return a float64 copy of the network in inference mode."""
    return copy.deepcopy(network).double().eval()


def exact_logits(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logits (N, classes) float64 of the network computed in float64."""
    return _logits(double(network), images).double().numpy()


def _reference_logits(model: onnx_ir.Model, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logits (N, classes) float64 of a graph by the reference implementation."""
    logits: NDArray[np.float64] = Reference(model).run({INPUT_NAME: images})[0]
    return logits


def float32_logits(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits (N, classes) float32 of a network as torch computes them."""
    return _logits(network, images).float().numpy()


@torch.inference_mode()
def _logits(network: nn.Module, images: NDArray[np.uint8]) -> torch.Tensor:
    served = ServedNetwork(network).eval()
    batches = torch.from_numpy(images).split(BATCH_SIZE)
    return torch.cat([served(batch)[0] for batch in batches])


def _torch_agreement(
    truth: NDArray[np.float64], torch32: NDArray[np.float32], graph32: NDArray[np.float32]
) -> TorchAgreement:
    scale = float(np.abs(truth).max())
    torch_error = largest_difference(torch32, truth)
    changes, unexplained = label_changes(torch32, graph32, rounding_allowance(torch_error, scale))
    return TorchAgreement(
        images=len(truth),
        scale=scale,
        torch_error_float32=torch_error,
        graph_error_float32=largest_difference(graph32, truth),
        label_changes=changes,
        unexplained_label_changes=unexplained,
    )
