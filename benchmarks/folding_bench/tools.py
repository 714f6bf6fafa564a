"""What folds: stock tools as their documentation says to call them, and ours.

A tool that works on torch networks returns one; a tool that works on ONNX gets the network as
torch's default exporter writes it with `optimize=False`, batch norms and all.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from benchmarks.folding_bench.onnx_tools import ON_MODELS

Outcome = nn.Module | onnx.ModelProto


@dataclass(frozen=True)
class Tool:
    """A tool, the package whose version counts, and how it is called."""

    name: str
    package: str
    run: Callable[[nn.Module, torch.Tensor], Outcome]
    takes_onnx: bool = False


def exported(
    network: nn.Module, example: torch.Tensor, *, optimize: bool = False
) -> onnx.ModelProto:
    """Return what torch's default exporter writes; the batch is free."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            optimize=optimize,
            input_names=["x"],
            external_data=False,
            verbose=False,
        )
    assert program is not None, "the default exporter returns a program"
    return program.model_proto


def exported_by_tracing(
    network: nn.Module, example: torch.Tensor, *, fold: bool = True
) -> onnx.ModelProto:
    """Return what torch's older exporter writes, which folds by itself unless told not to."""
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        path = Path(folder, "model.onnx")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            input_names=["x"],
            training=mode,
            do_constant_folding=fold,
        )
        return onnx.load(path)


def _fx(network: nn.Module, example: torch.Tensor) -> Outcome:
    from torch.fx.experimental.optimization import fuse

    return fuse(network)


def _ao(network: nn.Module, example: torch.Tensor) -> Outcome:
    from torch.ao.quantization.quantize_fx import fuse_fx

    return fuse_fx(network)


def folded_by_us(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """Return what `foldnorm fold` makes of a model."""
    import onnx_ir

    from training.folding.onnx_frontend import fold_model

    return onnx_ir.to_proto(fold_model(onnx_ir.from_proto(model), **options).model)


def _ours_in_torch(network: nn.Module, example: torch.Tensor) -> Outcome:
    from training.folding.torch_frontend import fold_network

    return fold_network(network, example).network


def _on_export(name: str, package: str, fold: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Tool:
    """Return a tool that works on what the exporter writes."""
    return Tool(name, package, lambda network, x: fold(exported(network, x)), takes_onnx=True)


TOOLS = (
    Tool("torch.fx fuse", "torch", _fx),
    Tool("torch.ao fuse_fx", "torch", _ao),
    Tool("torch exporter, traced", "torch", exported_by_tracing),
    Tool("torch exporter", "torch", lambda net, x: exported(net, x, optimize=True)),
    *(
        _on_export(name, "onnxruntime-gpu" if name == "onnxruntime" else name, fold)
        for name, fold in ON_MODELS.items()
    ),
    _on_export("Foldnorm, ONNX", "foldnorm", folded_by_us),
    _on_export("Foldnorm, ONNX, --clone", "foldnorm", lambda m: folded_by_us(m, clones=True)),
    Tool("Foldnorm, torch", "foldnorm", _ours_in_torch),
)
