"""A torch classifier on its way to an artifact: exported, and shown to be the same network."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from models.bundle import Bundle
from training.errors import ExportError, VerificationError
from training.evaluation.onnx_runner import open_session
from training.export.exporter import export_classifier
from training.folding.proof.tolerances import largest_difference, rounding_allowance
from training.release.packing.pack import Packing, pack
from training.release.packing.pipeline import Pipeline, from_timm


def pack_network(
    network: nn.Module, example: torch.Tensor, asked: Packing, folder: Path, rounds: int | None
) -> Bundle:
    """Write the artifact of a torch network, which takes (N, C, H, W), and return it.

    Raises:
        ExportError: torch cannot export it, or it cannot be packed.
        VerificationError: a graph is not the network.
    """
    with exported(network, example) as path:
        return pack(path, asked, folder, rounds)


@contextmanager
def exported(network: nn.Module, example: torch.Tensor) -> Iterator[Path]:
    """Give a torch network as an ONNX file, which is shown to be the network.

    Raises:
        ExportError: torch cannot export it.
        VerificationError: the graph is not the network.
    """
    proto = export_classifier(network, example)
    _check_export(network, example, proto)
    with tempfile.TemporaryDirectory(prefix="foldnorm-") as temporary:
        path = Path(temporary, f"{type(network).__name__}.onnx")
        onnx.save(proto, path)
        yield path


def pipeline_of(network: nn.Module) -> Pipeline:
    """Return what timm says of a network of its own; of others nothing is known."""
    config: Any = getattr(network, "pretrained_cfg", None)
    return from_timm(config) if isinstance(config, Mapping) else Pipeline()


@torch.inference_mode()
def _check_export(network: nn.Module, example: torch.Tensor, proto: onnx.ModelProto) -> None:
    """Compare the exported graph with the network, on the example.

    Raises:
        ExportError: the network gives no tensor.
        VerificationError: the scores differ by more than rounding.
    """
    found = network(example)
    if not isinstance(found, torch.Tensor):
        raise ExportError(
            f"{type(network).__name__} gives {type(found).__name__}, and a classifier gives a "
            "tensor of scores (N, classes); pack a module that returns them alone"
        )
    truth = copy.deepcopy(network).double()(example.double()).numpy()
    session = open_session(proto.SerializeToString(), "disable_all")
    name = session.get_inputs()[0].name
    graph = np.asarray(session.run(None, {name: example.numpy()})[0])
    scale = float(np.abs(truth).max())
    allowed = rounding_allowance(largest_difference(found.numpy(), truth), scale)
    error = largest_difference(graph, truth)
    if not error <= allowed:
        raise VerificationError(
            f"the exported graph of {type(network).__name__} differs from it by {error:.3g}, at "
            f"most {allowed:.3g} is rounding; nothing is packed"
        )
