"""Parts of tensors, written so that nothing is copied twice, or for nothing.

A sequence of parts of which each is taken by its number is a Split, which has them as outputs:
torch's default exporter writes torch.split and torch.chunk with SplitToSequence, which batch norms
do not go across, and of which runtimes copy a part twice. A Slice that takes all there is is its
input; runtimes copy it, and fuse nothing across it.
"""

from __future__ import annotations

from itertools import chain, count

import numpy as np
import onnx_ir as ir

from training.folding.algebra.affine import FoldRefused
from training.folding.onnx_frontend.constants import Constants

SPLIT_BY_INPUT = 13  # the first opset whose Split takes the sizes as an input
TO_THE_END = 2**31 - 1  # and more: what exporters write for any size


def split_sequences(graph: ir.Graph, opset: int, taken_names: set[str]) -> None:
    """Put a Split in the place of each SplitToSequence whose parts are taken by their number."""
    constants = Constants(opset)
    for node in tuple(graph):
        if node.domain == "" and node.op_type == "SplitToSequence":
            sizes, taken = _sizes(node, constants), _taken(node, constants)
            if sizes is not None and taken is not None and _are_there(taken, len(sizes)):
                _replace(node, sizes, taken, opset, taken_names)


def drop_whole_slices(graph: ir.Graph, opset: int) -> None:
    """Let the readers of each Slice that takes all there is read its input."""
    constants = Constants(opset)
    for node in tuple(graph):
        if node.domain == "" and node.op_type == "Slice" and _takes_all(node, constants):
            (output,), source = node.outputs, node.inputs[0]
            if source is not None and not output.is_graph_output():
                for use in tuple(output.uses()):
                    use.node.replace_input_with(use.idx, source)
                graph.remove(node, safe=True)


def _takes_all(node: ir.Node, constants: Constants) -> bool:
    source, *given = node.inputs
    if source is None or len(given) < 2:  # the form of old opsets
        return False
    numbers = [None if one is None else _number(one, constants) for one in given]
    if any(number is None and one is not None for number, one in zip(numbers, given, strict=True)):
        return False
    starts, ends, axes, steps = (*numbers, None, None)[:4]
    if starts is None or ends is None or (steps is not None and np.any(steps != 1)):
        return False
    chosen = range(len(starts)) if axes is None else [int(axis) for axis in axes]
    return all(
        _is_whole(source, axis, int(start), int(end))
        for axis, start, end in zip(chosen, starts, ends, strict=True)
    )


def _is_whole(source: ir.Value, axis: int, start: int, end: int) -> bool:
    size = None if source.shape is None else source.shape[axis]
    if not isinstance(size, int):
        return start == 0 and end >= TO_THE_END
    return (start == 0 or start <= -size) and end >= size


def _sizes(node: ir.Node, constants: Constants) -> list[int] | None:
    """Return the sizes of the parts, None where they are not known."""
    source, *given = node.inputs
    if source is None or source.shape is None or not given or given[0] is None:
        return None
    size = source.shape[node.attributes.get_int("axis", 0)]
    wanted = _number(given[0], constants)
    if wanted is None or not isinstance(size, int):
        return None
    if wanted.ndim == 1:
        sizes = [int(one) for one in wanted]
    elif wanted > 0:
        whole, rest = divmod(size, int(wanted))
        sizes = [int(wanted)] * whole + [rest] * (rest > 0)
    else:
        return None
    return sizes if sum(sizes) == size and min(sizes, default=-1) >= 0 else None


def _taken(node: ir.Node, constants: Constants) -> list[tuple[ir.Node, int]] | None:
    """Return who takes which part, None where anything else reads the sequence."""
    (sequence,) = node.outputs
    if sequence.is_graph_output():
        return None
    taken = []
    for use in sequence.uses():
        reader = use.node
        if reader.op_type != "SequenceAt" or reader.graph is not node.graph:
            return None
        place = _number(reader.inputs[1], constants)
        if place is None or place.size != 1 or reader.outputs[0].is_graph_output():
            return None
        taken.append((reader, int(place.item())))
    return taken


def _number(value: ir.Value | None, constants: Constants) -> np.ndarray | None:
    """Return a constant, None where it is none."""
    if value is None or not constants.holds(value):
        return None
    try:
        return constants.array(value)
    except FoldRefused:
        return None


def _are_there(taken: list[tuple[ir.Node, int]], parts: int) -> bool:
    return all(-parts <= place < parts for _, place in taken)


def _replace(
    node: ir.Node,
    sizes: list[int],
    taken: list[tuple[ir.Node, int]],
    opset: int,
    names: set[str],
) -> None:
    """Have the readers of each part read the output of a Split, under the part's name."""
    (sequence,), source, graph = node.outputs, node.inputs[0], node.graph
    assert isinstance(graph, ir.Graph), "it is one of its nodes"
    assert source is not None, "its first input is not optional"
    assert source.shape is not None, "its sizes are known"
    axis = node.attributes.get_int("axis", 0)
    attributes, inputs = [ir.AttrInt64("axis", axis)], [source]
    if opset < SPLIT_BY_INPUT:
        attributes.append(ir.AttrInt64s("split", sizes))
    else:
        lengths = ir.Value(name=_new_name(f"{sequence.name}_sizes", names))
        lengths.const_value = ir.tensor(np.array(sizes, np.int64), name=lengths.name)
        lengths.shape, lengths.type = ir.Shape([len(sizes)]), ir.TensorType(ir.DataType.INT64)
        graph.register_initializer(lengths)
        inputs.append(lengths)
    split = ir.Node("", "Split", inputs, attributes, num_outputs=len(sizes), name=node.name)
    graph.insert_after(node, split)
    for place, (part, size) in enumerate(zip(split.outputs, sizes, strict=True)):
        shape = list(source.shape)
        shape[axis] = size
        part.type, part.shape = source.type, ir.Shape(shape)
        part.name = _new_name(f"{sequence.name}_{place}", names)
    for reader, place in taken:
        old, part = reader.outputs[0], split.outputs[place]
        part.name, old.name = old.name, None
        for use in tuple(old.uses()):
            use.node.replace_input_with(use.idx, part)
    graph.remove([*(reader for reader, _ in taken), node], safe=True)


def _new_name(wanted: str, names: set[str]) -> str:
    """Return a name that nothing has yet."""
    name = next(
        one for one in chain([wanted], (f"{wanted}_{k}" for k in count(1))) if one not in names
    )
    names.add(name)
    return name
