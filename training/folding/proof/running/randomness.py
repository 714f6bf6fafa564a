"""Networks that draw numbers: both models draw the same, or nothing could be compared."""

from __future__ import annotations

import zlib

import onnx_ir as ir

DRAWING = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


def drawing_nodes(model: ir.Model) -> list[ir.Node]:
    """Return the nodes that draw, bodies of control flow and functions included."""
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    return [node for graph in graphs for node in graph if _draws(node)]


def seeded(model: ir.Model) -> ir.Model:
    """Return a copy whose nodes draw from seeds of their own, the same for the same tensor."""
    copy = model.clone()
    for node in drawing_nodes(copy):
        seed = zlib.crc32(str(node.outputs[0].name).encode()) % 2**16
        node.attributes["seed"] = ir.AttrFloat32("seed", float(seed))
    return copy


def _draws(node: ir.Node) -> bool:
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
        mode = node.inputs[2].const_value
        return mode is None or bool(mode.numpy().any())
    return node.op_type in DRAWING
