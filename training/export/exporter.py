"""From a torch network to the ONNX graph that is served.

torch's exporter folds convolution and batch norm by itself unless told not to (`optimize=False`),
and then leaves the shape arithmetic of its tracing behind. So the passes that clean up are chosen
here one by one, and none of them touches a batch norm: what is called unfolded *is* unfolded.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir
import torch
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule
from torch import nn

from models.networks import AirNet, KerasCnn
from models.tensors import INPUT_NAME, SCORE_NAMES
from training.errors import ExportError
from training.export.served_network import ServedNetwork

OPSET = 20
PREFIX = "network."  # of the parameters' names, as `ServedNetwork` holds the network
# What a served graph consists of; anything else is debris of the export.
EXPECTED_OPERATORS = frozenset(
    {
        "Cast",
        "Transpose",
        "Div",
        "Conv",
        "BatchNormalization",
        "Relu",
        "Gelu",
        "Add",
        "ReduceMax",
        "MaxPool",
        "Reshape",
        "Flatten",
        "Gemm",
        "Softmax",
    }
)

OUR_NETWORKS = (AirNet, KerasCnn)
RANDOM_OPERATORS = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def export_onnx(network: nn.Module, image_shape: tuple[int, ...]) -> onnx.ModelProto:
    """Return the graph from image bytes to probabilities, with a free batch size.

    image (N, H, W, C) uint8 RGB -> logits (N, classes), probabilities (N, classes) float32

    `image_shape` is (H, W, C), which stands in the graph.

    A network of one's own may have any operator of ONNX whose answer is always the same.

    Raises:
        ExportError: torch cannot export it, the graph has other operators than it should, or it is
            in training mode.
    """
    if network.training:
        raise ExportError("the network is in training mode; call eval() before exporting it")
    served = ServedNetwork(network).eval()
    example = torch.zeros(2, *image_shape, dtype=torch.uint8)
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                served,
                (example,),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=list(SCORE_NAMES),
                dynamic_shapes={"image": {0: torch.export.Dim("N")}},
                external_data=False,
                verbose=False,
            )
    except Exception as exc:  # whatever torch.export says of a stranger's forward
        if isinstance(network, OUR_NETWORKS):
            raise
        raise ExportError(
            f"torch cannot export {type(network).__name__} with a free batch size "
            f"({_first_cause(exc)}); let its forward depend on no value and on no batch size"
        ) from exc
    assert program is not None, "the dynamo exporter returns a program"
    model = onnx_ir.to_proto(_named_by_layers(_clean(program.model)))
    model.producer_name, model.producer_version = "foldnorm", ""
    onnx.checker.check_model(model, full_check=True)
    if isinstance(network, OUR_NETWORKS):
        _check_operators(model)
    else:
        _check_deterministic(model, network)
    return model


def export_classifier(network: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """Return the graph of anybody's classifier as it stands, batch norms too, with a free batch.

    example (N, C, H, W) -> scores (N, classes). Layers keep their names.

    Raises:
        ExportError: it is in training mode, or torch cannot export it.
    """
    if network.training:
        raise ExportError("the network is in training mode; call eval() before packing it")
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises what the network's code raises
        raise ExportError(
            f"torch cannot export {type(network).__name__} ({_first_cause(error)}); export it to "
            "ONNX yourself, and pack the file"
        ) from error
    assert program is not None, "the dynamo exporter returns a program"
    return onnx_ir.to_proto(_named_by_layers(_clean(program.model), prefix=""))


def _first_cause(error: BaseException) -> str:
    """Return in one line what an export failed of: the innermost cause says it best."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first.strip()}"


def _clean(model: onnx_ir.Model) -> onnx_ir.Model:
    """Remove what tracing left behind, and the paths and stack traces it wrote down."""
    fold_constants(model)
    rewrite(model, [materialize_reshape_shape_rule])
    cleaning = Sequential(
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
    )
    return cleaning(model).model


def _named_by_layers(model: onnx_ir.Model, prefix: str = PREFIX) -> onnx_ir.Model:
    """Name each node that has parameters as the network names the layer, `conv1` or `conv1_bn`."""
    taken: set[str] = set()
    for node in model.graph:
        names = (value.name or "" for value in node.inputs if value is not None)
        parameter = next((name for name in names if name.startswith(prefix) and "." in name), None)
        layer = parameter and parameter.removeprefix(prefix).rpartition(".")[0]
        if layer and layer not in taken:
            taken.add(layer)
            node.name = layer
    return model


def _check_operators(model: onnx.ModelProto) -> None:
    unexpected = sorted({node.op_type for node in model.graph.node} - EXPECTED_OPERATORS)
    if unexpected:
        raise ExportError(
            f"the exported graph holds {', '.join(unexpected)}, which this network does not need; "
            "the installed torch or onnxscript exports it differently, use the pinned versions"
        )


def _check_deterministic(model: onnx.ModelProto, network: nn.Module) -> None:
    """Refuse what a network of one's own may not hold: noise, and operators of nobody's."""
    for node in model.graph.node:
        if node.op_type in RANDOM_OPERATORS or node.domain not in ("", "ai.onnx"):
            what = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise ExportError(
                f"the exported graph of {type(network).__name__} holds {what}, with which no "
                "answer can be proved; leave it out in inference mode"
            )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def network_weights(model: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """Return the network's parameters and statistics that an exported graph carries, by name."""
    return {
        tensor.name.removeprefix(PREFIX): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).copy()
        )
        for tensor in model.graph.initializer
        if tensor.name.startswith(PREFIX)
    }
