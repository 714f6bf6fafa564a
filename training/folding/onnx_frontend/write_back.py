"""Carries what folding did back into the ONNX graph, which keeps everything else.

Tensors keep their names, outputs of the network as well: where one was the output of a node that
is gone, the tensor before it takes its name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.linear_map import LinearMap
from training.folding.algebra.rounding import rounded
from training.folding.engine.graph import Affine, BorderPad, Linear, Node, Offset, Sum
from training.folding.onnx_frontend.readers.differences import restore_differences
from training.folding.onnx_frontend.readers.norms import EPSILON
from training.folding.onnx_frontend.view import View

FIRST_WITH_EXPAND = 8
FIRST_WITH_AMOUNTS = 11  # as inputs of Pad


class Writer:
    """Writes one folded graph back."""

    def __init__(self, view: View, opset: int, taken: set[str]) -> None:
        self._view = view
        self.native = view.native
        self.opset = opset
        self._taken = taken

    def write(self) -> None:
        """Change the ONNX graph."""
        for node in self._view.graph.nodes:
            if node.clone_of is not None:
                self._copy(node)
            elif isinstance(node.operation, BorderPad):
                self._pad_border(node, node.operation)
        self._rewire()
        for node in self._view.graph.nodes:
            if isinstance(node.operation, Linear) and node.operation.map.changed:
                self._write_layer(node, node.operation.map)
            elif isinstance(node.operation, Affine) and node.operation.changed:
                self._write_norm(node, node.operation)
            elif isinstance(node.operation, Offset) and node.operation.changed:
                self._write_offset(node, node.operation)
        self._remove_bypassed()
        restore_differences(self._view.negations, self.new_name)

    def _copy(self, node: Node) -> None:
        """Put a copy of a layer after the layer."""
        assert node.clone_of is not None, "asked of copies only"
        (original, *_) = self._view.natives[node.clone_of]
        output = ir.Value(name=self.new_name(node.output.name), type=original.outputs[0].type)
        copy = ir.Node(
            original.domain,
            original.op_type,
            list(original.inputs),
            list(original.attributes.values()),
            outputs=[output],
            name=node.name,
        )
        self.native.insert_after(original, copy)
        self._view.natives[node] = [copy]
        self._view.slots[node] = [(copy, index) for _, index in self._view.slots[node.clone_of]]
        self._view.values[node.output] = output
        node.output.name = output.name or ""

    def _rewire(self) -> None:
        for node in self._view.graph.nodes:
            if isinstance(node.operation, BorderPad):
                continue  # made as it should be
            self._shorten(node)
            for (native, index), value in zip(self._view.slots[node], node.inputs, strict=True):
                wanted = self._view.values[value]
                if native.inputs[index] is not wanted:
                    native.replace_input_with(index, wanted)

    def _shorten(self, node: Node) -> None:
        """Let a sum have as many inputs as it still needs."""
        slots = self._view.slots[node]
        if isinstance(node.operation, Sum) and len(node.inputs) < len(slots):
            (native, _), count = slots[0], len(node.inputs)
            native.resize_inputs(count)
            self._view.slots[node] = [(native, index) for index in range(count)]

    def _write_layer(self, node: Node, layer: LinearMap) -> None:
        (native, *_) = self._view.natives[node]
        weight = layer.rounded_weight()
        bias = None if layer.bias is None else layer.rounded_bias()
        if native.op_type == "MatMul":
            self._write_matmul(node, weight, bias)
            return
        if native.op_type == "Gemm":
            for name in ("alpha", "beta"):
                native.attributes.pop(name, None)
            weight = weight if native.attributes.get_int("transB", 0) else weight.T
        elif layer.padding is not None:
            self._write_padding(native, layer.padding)
            native.attributes.pop("kernel_shape", None)  # the weights have it
        self._set_constant(native, 1, weight, f"{node.name}_weight")
        if bias is not None:
            self._set_constant(native, 2, bias, f"{node.name}_bias")

    def _write_matmul(
        self,
        node: Node,
        weight: NDArray[Any],
        bias: NDArray[Any] | None,
    ) -> None:
        """A matrix product has no bias: what follows it has, or it becomes a Gemm, or gets one."""
        (native, *adds) = self._view.natives[node]
        self._set_constant(native, 1, np.ascontiguousarray(weight.T), f"{node.name}_weight")
        if bias is None:
            return
        if adds:
            index = 0 if adds[0].inputs[1] is native.outputs[0] else 1
            self._set_constant(adds[0], index, bias, f"{node.name}_bias")
            return
        shape = native.inputs[0].shape if native.inputs[0] is not None else None
        if shape is not None and len(shape) == 2:
            native.op_type = "Gemm"
            self._set_constant(native, 2, bias, f"{node.name}_bias")
            return
        self._add_after(node, native, bias)

    def _add_after(self, node: Node, native: ir.Node, bias: NDArray[Any]) -> None:
        """Have a bias added to what a node returns, under the name that it has."""
        output = native.outputs[0]
        name = output.name
        add = ir.Node("", "Add", [output, output], num_outputs=1)
        self.native.insert_after(native, add)
        (result,) = add.outputs
        result.type, result.shape = output.type, output.shape
        self._replace(output, result, but=add)
        output.name, result.name = self.new_name(f"{name}_product"), name
        add.name = self.new_name(f"{name}_bias")
        self._set_constant(add, 1, bias, add.name)
        self._view.values[node.output] = result

    def _set_constant(self, native: ir.Node, index: int, array: NDArray[Any], name: str) -> None:
        """Give a node a constant of its own, under the old name if nobody else reads that."""
        old = native.inputs[index] if index < len(native.inputs) else None
        if old is not None and _is_only_for(old):
            old.const_value = ir.tensor(array, name=old.name)
            old.shape = ir.Shape(array.shape)
            return
        value = self.new_constant(array, name)
        if index >= len(native.inputs):
            native.resize_inputs(index + 1)
        native.replace_input_with(index, value)

    def new_constant(self, array: NDArray[Any], name: str) -> ir.Value:
        """Return a new initializer of the graph, its name free."""
        value = ir.Value(name=self.new_name(name))
        value.const_value = ir.tensor(array, name=value.name)
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(value.const_value.dtype)
        self.native.register_initializer(value)
        return value

    def _write_padding(self, native: ir.Node, padding: tuple[tuple[int, int], ...]) -> None:
        if "auto_pad" in native.attributes and any(map(any, padding)):
            return  # as it was: only no padding at all is written
        before, after = zip(*padding, strict=True)
        native.attributes.pop("auto_pad", None)
        native.attributes["pads"] = ir.AttrInt64s("pads", [*before, *after])

    def _write_norm(self, node: Node, operation: Affine) -> None:
        """Have a batch norm do what several did: gamma and beta alone, mean 0, variance 1.

        Its epsilon stays, since cuDNN takes none below 1e-5; gamma makes up for it.
        """
        (native,) = self._view.natives[node]
        map_, ones = operation.map, np.ones_like(operation.map.scale)
        gamma = map_.scale * np.sqrt(1 + native.attributes.get_float("epsilon", EPSILON))
        for index, vector in enumerate((gamma, map_.shift, 0 * ones, ones), start=1):
            kind = native.inputs[index].dtype.numpy()  # type: ignore[union-attr] # its reader checked
            self._set_constant(native, index, rounded(vector, kind), f"{node.name}_{index}")

    def _write_offset(self, node: Node, offset: Offset) -> None:
        """Have a constant map added, where one was subtracted as well."""
        ((native, index),) = self._view.slots[node]
        native.op_type = "Add"
        values = rounded(offset.values, offset.dtype)
        self._set_constant(native, 1 - index, values, f"{node.name}_values")

    def _pad_border(self, node: Node, operation: BorderPad) -> None:
        """X padded with 0, plus value * mask, where the mask is 1 on the border and 0 inside."""
        source = self._view.values[node.inputs[0]]
        kind = source.dtype or _type_of_weights(node) or ir.DataType.FLOAT
        nodes = _Inserted(self, self._after(source), node.name)
        axes = len(operation.padding)
        before, after = zip(*operation.padding, strict=True)
        pads = np.array([0, 0, *before, 0, 0, *after], np.int64)
        values = rounded(operation.values, kind.numpy())
        if np.all(values == values[0]) and self._is_written_exactly(values[0]):
            self._view.values[node.output] = nodes.pad(source, pads, values[0], "padded")
            return
        padded = nodes.pad(source, pads, _number(0.0, kind), "padded")
        spatial = nodes.constant(np.arange(2, 2 + axes), "axes")
        sizes = nodes.node("Gather", [nodes.node("Shape", [source], "shape"), spatial], "sizes")
        ones = nodes.constant(np.ones(2, np.int64), "ones")
        shape = nodes.node("Concat", [ones, sizes], "inside_shape", ir.AttrInt64("axis", 0))
        zero = nodes.constant(np.zeros((1,) * (2 + axes), kind.numpy()), "zero")
        repeat = "Tile" if self.opset < FIRST_WITH_EXPAND else "Expand"
        inside = nodes.node(repeat, [zero, shape], "inside")
        mask = nodes.pad(inside, pads, _number(1.0, kind), "mask")
        vector = nodes.constant(values.reshape(1, -1, *(1,) * axes), "values")
        border = nodes.node("Mul", [mask, vector], "values_at_border")
        self._view.values[node.output] = nodes.node("Add", [padded, border], "bordered")

    def _is_written_exactly(self, value: NDArray[Any]) -> bool:
        """Whether Pad can be given a number: before opset 11 it had it as a float32 attribute."""
        return self.opset >= FIRST_WITH_AMOUNTS or float(np.float32(value)) == float(value)

    def _after(self, source: ir.Value) -> ir.Node:
        """Return the first node that may stand after what a tensor comes from."""
        nodes = list(self.native)
        producer = source.producer()
        if producer is None or producer.graph is not self.native:
            return nodes[0]
        return nodes[nodes.index(producer) + 1]  # whoever reads the tensor comes later

    def _remove_bypassed(self) -> None:
        """Let every reader of what a vanished node returned read what it would have passed on."""
        for node in self._view.graph.bypassed:
            source = node.inputs[0]
            while source.producer in self._view.graph.bypassed:
                source = source.producer.inputs[0]
            self._replace(self._view.values[node.output], self._view.values[source])

    def _replace(self, old: ir.Value, new: ir.Value, but: ir.Node | None = None) -> None:
        """Let all who read one tensor read another; an output of the network keeps its name."""
        for use in tuple(old.uses()):
            if use.node is not but:
                use.node.replace_input_with(use.idx, new)
        if not old.is_graph_output():
            return
        if new.is_graph_output() or new.is_graph_input() or new.producer() is None:
            same = ir.Node("", "Identity", [new], num_outputs=1, name=f"{old.name}_identity")
            self.native.append(same)
            (new,) = same.outputs
        name, new.type = old.name, old.type
        new.shape = old.shape
        old.name = self.new_name(f"{name}_before")
        new.name = name
        for index, output in enumerate(self.native.outputs):
            if output is old:
                self.native.outputs[index] = new

    def new_name(self, wanted: str) -> str:
        """Return a name that nothing in the graph has yet."""
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


class _Inserted:
    """Makes nodes in front of another one."""

    def __init__(self, writer: Writer, before: ir.Node, stem: str) -> None:
        self._writer, self._before, self._stem = writer, before, stem

    def node(
        self, operator: str, inputs: list[ir.Value], name: str, *attributes: ir.Attr
    ) -> ir.Value:
        """Return the output of a new node."""
        name = self._writer.new_name(f"{self._stem}_{name}")
        node = ir.Node("", operator, inputs, attributes, num_outputs=1, name=name)
        node.outputs[0].name = name
        counts = operator in ("Shape", "Gather", "Concat")
        node.outputs[0].type = ir.TensorType(ir.DataType.INT64) if counts else inputs[0].type
        self._writer.native.insert_before(self._before, node)
        return node.outputs[0]

    def constant(self, array: NDArray[Any], name: str) -> ir.Value:
        """Return a new initializer."""
        return self._writer.new_constant(array, f"{self._stem}_{name}")

    def pad(
        self, source: ir.Value, pads: NDArray[np.int64], value: NDArray[Any], name: str
    ) -> ir.Value:
        """Return a tensor padded with a constant; amounts were attributes before opset 11."""
        if self._writer.opset < FIRST_WITH_AMOUNTS:
            attributes = (
                ir.AttrInt64s("pads", pads.tolist()),
                ir.AttrFloat32("value", float(value)),
            )
            return self.node("Pad", [source], name, *attributes)
        amounts = self.constant(pads, f"{name}_amounts")
        constant = self.constant(np.asarray(value), f"{name}_value")
        return self.node("Pad", [source, amounts, constant], name)


def _type_of_weights(node: Node) -> ir.DataType | None:
    """Return the type of the layer that a node pads for, None where there is none."""
    for reader in node.output.consumers:
        if isinstance(reader.operation, Linear):
            return ir.DataType.from_numpy(reader.operation.map.dtype)
    return None


def _number(value: float, kind: ir.DataType) -> NDArray[Any]:
    return np.array(value, kind.numpy())


def _is_only_for(value: ir.Value) -> bool:
    """Whether a constant has one reader, so that it may get other numbers."""
    return value.is_initializer() and len(value.uses()) == 1 and not value.is_graph_output()


def names_of(model: ir.Model) -> set[str]:
    """Return all names of tensors and nodes; those in bodies must not hide those around them."""
    names: set[str] = set()
    for graph in model.graphs():
        names |= {str(value.name) for value in (*graph.inputs, *graph.initializers.values())}
        for node in graph:
            names |= {str(node.name), *(str(output.name) for output in node.outputs)}
    return names
