"""Small ONNX models made by hand, and what they return."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NORM = ("gamma", "beta", "mean", "var")


class Builder:
    """Collects the nodes and constants of a model with one input `x` and one output."""

    def __init__(self, shape: tuple[int | str, ...], dtype: type = np.float32, seed: int = 0):
        self.generator = np.random.default_rng(seed)
        self.shape, self.dtype, self.last = shape, dtype, "x"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, array: Any, dtype: Any = None) -> str:
        self.constants[name] = np.asarray(array, dtype or self.dtype)
        return name

    def random(self, name: str, *shape: int) -> str:
        return self.constant(name, self.generator.standard_normal(shape))

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node; without inputs it reads what came last."""
        output = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs or [self.last], [output], name=output, **attributes)
        )
        self.last = output
        return output

    def norm(self, channels: int, source: str | None = None, *, positive: bool = False) -> str:
        """Append a batch norm with scales of both signs."""
        number = len(self.nodes)
        gamma = self.generator.uniform(0.5, 1.5, channels)
        if not positive:
            gamma[::2] *= -1
        values = (gamma, self.generator.standard_normal(channels))
        values += (self.generator.standard_normal(channels),)
        values += (self.generator.uniform(0.5, 2, channels),)
        names = [self.constant(f"{n}{number}", v) for n, v in zip(NORM, values, strict=True)]
        return self.add("BatchNormalization", source or self.last, *names, name=f"norm{number}")

    def conv(self, into: int, out: int, size: int = 3, axes: int = 2, **attributes: Any) -> str:
        """Append a convolution with a bias; `into` are the inputs of one group."""
        number = len(self.nodes)
        weight = self.random(f"w{number}", out, into, *(size,) * axes)
        bias = self.random(f"b{number}", out)
        return self.add("Conv", self.last, weight, bias, name=f"conv{number}", **attributes)

    def proto(self, opset: int = 17, **model: Any) -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", kind, self.shape)],
            [helper.make_tensor_value_info(self.last, kind, None)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **model
        )
        if not any(node.domain for node in self.nodes):
            inferred = onnx.shape_inference.infer_shapes(proto).graph.output[0]
            proto.graph.output[0].CopyFrom(inferred)  # a valid output has a shape
        return proto

    def model(self, opset: int = 17) -> ir.Model:
        return ir.from_proto(self.proto(opset))


def outputs(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime returns without any rewriting of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(one) for one in session.run(None, {"x": x})]


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph.all_nodes()]


def norms(model: ir.Model) -> int:
    return operators(model).count("BatchNormalization")


__all__ = ["Builder", "TensorProto", "norms", "operators", "outputs"]
