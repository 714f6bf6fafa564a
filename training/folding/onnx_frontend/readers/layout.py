"""Operators that only move numbers: reshaping, transposing, splitting, slicing and the like.

Sizes that are free have names in ONNX, and equal names are equal sizes. Where a size has none, it
is unknown, and nothing that depends on it is proved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.layout import Layout, Size, cut, number, permuted
from training.folding.algebra.reshaping import reshaped
from training.folding.engine.graph import Opaque, Operation, Rearrange
from training.folding.onnx_frontend.readers.context import Context

Places = NDArray[np.intp] | None
END = 2**31 - 1  # exporters write this, or more, for "to the end"


def reshape(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Another shape; amounts of 0 keep a size, one of -1 is what is left."""
    before, inferred = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    target = context.known(node, 1)
    if before is None or (target is None and inferred is None) or 0 not in indices:
        return Opaque("Reshape", _UNKNOWN)
    if target is None:
        assert inferred is not None, "one of both is known"
        return Rearrange((reshaped(before, inferred),))
    allows_zero = bool(node.attributes.get_int("allowzero", 0))
    after = [
        _target(int(size), place, before, inferred, allows_zero=allows_zero)
        for place, size in enumerate(target)
    ]
    return Rearrange((reshaped(before, after),))


def _target(
    size: int,
    place: int,
    before: Sequence[Size],
    inferred: Sequence[Size] | None,
    *,
    allows_zero: bool,
) -> Size:
    if size > 0 or (size == 0 and allows_zero):
        return size
    if size == 0 and place < len(before):
        return before[place]
    return None if inferred is None else inferred[place]


def flatten(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """The axes before one become one, and those from it on another."""
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return Opaque("Flatten", _UNKNOWN)
    whole, axis = permuted(sizes, range(len(sizes))), node.attributes.get_int("axis", 1)
    first = axis if axis >= 0 else axis + len(sizes)
    after = (tuple(range(first)), tuple(range(first, len(sizes))))
    return Rearrange((Layout(whole.before, after, whole.sizes),))


def squeeze(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes of size one that go."""
    sizes, axes = sizes_of(node.inputs[0]), _amounts(node, context, "axes", 1)
    if sizes is not None and axes is None and len(node.inputs) == 1 and None not in sizes:
        axes = [axis for axis, size in enumerate(sizes) if size == 1]
    if indices != [0] or sizes is None or axes is None:
        return Opaque("Squeeze", _UNKNOWN)
    gone = {axis % len(sizes) for axis in axes}
    whole = permuted(sizes, [axis for axis in range(len(sizes)) if axis not in gone])
    before = tuple(() if axis in gone else held for axis, held in enumerate(whole.before))
    return Rearrange((Layout(before, whole.after, whole.sizes),))


def unsqueeze(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes of size one that come."""
    sizes, axes = sizes_of(node.inputs[0]), _amounts(node, context, "axes", 1)
    if indices != [0] or sizes is None or axes is None:
        return Opaque("Unsqueeze", _UNKNOWN)
    whole, rank = permuted(sizes, range(len(sizes))), len(sizes) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(whole.after)
    after = tuple(() if axis in new else next(old) for axis in range(rank))
    return Rearrange((Layout(whole.before, after, whole.sizes),))


def transpose(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes in another order."""
    sizes = sizes_of(node.inputs[0])
    if sizes is None:
        return Opaque(node.op_type, _UNKNOWN)
    order = node.attributes.get_ints("perm", range(len(sizes))[::-1])
    if sorted(order) != list(range(len(sizes))):
        return None  # no runtime runs it
    return Rearrange((permuted(sizes, order),))


def split(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Consecutive parts of one axis, one for each output."""
    sizes = sizes_of(node.inputs[0])
    if 0 not in indices or sizes is None:
        return Opaque(node.op_type, _UNKNOWN)
    axis = node.attributes.get_int("axis", 0) % len(sizes)
    chunks = _chunks(node, sizes[axis], context)
    if len(chunks) != len(node.outputs):
        return None  # no runtime runs it
    return Rearrange(tuple(cut(sizes, {axis: places}) for places in chunks))


def _chunks(node: ir.Node, size: Size, context: Context) -> list[Places]:
    """Return the places of each part."""
    count = len(node.outputs)
    lengths = _amounts(node, context, "split", 1)
    given = len(node.inputs) > 1 and node.inputs[1] is not None
    if lengths is None and isinstance(size, int) and not given:
        longest = -(-size // count)
        lengths = [*(longest,) * (count - 1), size - longest * (count - 1)]
    if lengths is None:
        return [None] * count
    return [np.arange(start, end) for start, end in pairwise(accumulate(lengths, initial=0))]


def slice_(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Every so many places of some axes."""
    sizes, axes = sizes_of(node.inputs[0]), _amounts(node, context, "axes", 3)
    starts, ends = (_amounts(node, context, name, k) for k, name in ((1, "starts"), (2, "ends")))
    steps = _amounts(node, context, "steps", 4)
    named, stepped = (len(node.inputs) > k and node.inputs[k] is not None for k in (3, 4))
    if sizes is None or 0 not in indices or (named and axes is None):
        return Opaque("Slice", _UNKNOWN)
    if starts is None or ends is None or (stepped and steps is None):
        return Rearrange(
            (cut(sizes, dict.fromkeys(axis % len(sizes) for axis in axes or range(len(sizes)))),)
        )
    axes = list(range(len(starts))) if axes is None else axes
    chosen: dict[int, Places] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        size = sizes[axis]
        if (start, step) != (0, 1) or end < END:
            whole = np.arange(size) if isinstance(size, int) else None
            chosen[axis % len(sizes)] = None if whole is None else whole[start:end:step]
    return Rearrange((cut(sizes, chosen),))


def gather(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Some places of one axis, in any order; or one of them, without the axis."""
    sizes, places = sizes_of(node.inputs[0]), context.known(node, 1)
    if indices != [0] or sizes is None or places is None or places.ndim > 1:
        return None
    axis = node.attributes.get_int("axis", 0) % len(sizes)
    size = sizes[axis]
    chosen = None
    if isinstance(size, int):
        chosen = np.atleast_1d(places).astype(np.intp) % size
    whole = cut(sizes, {axis: chosen})
    if places.ndim == 1:
        return Rearrange((whole,))
    after = tuple(held for held in whole.after if held != (axis,))
    return Rearrange((Layout(whole.before, after, whole.sizes, whole.chosen),))


def depth_to_space(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Channels become the places of a block, and back."""
    sizes = sizes_of(node.inputs[0])
    if indices != [0] or sizes is None or len(sizes) != 4:
        return Opaque(node.op_type, _UNKNOWN)
    batch, channels, height, width = _numbers(sizes)
    block = node.attributes.get_int("blocksize", 1)
    n, c, h, w, r, q = range(6)  # the block is (r, q)
    if node.op_type == "SpaceToDepth":
        parts = tuple(None if one is None else one // block for one in (height, width))
        return Rearrange(
            (
                Layout(
                    ((n,), (c,), (h, r), (w, q)),
                    ((n,), (r, q, c), (h,), (w,)),
                    (batch, channels, *parts, block, block),
                ),
            )
        )
    depth = None if channels is None else channels // block**2
    inner = node.attributes.get_string("mode", "DCR") == "DCR"
    return Rearrange(
        (
            Layout(
                ((n,), (r, q, c) if inner else (c, r, q), (h,), (w,)),
                ((n,), (c,), (h, r), (w, q)),
                (batch, depth, height, width, block, block),
            ),
        )
    )


def tile(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """The numbers of some axes several times, one whole after the other."""
    sizes, repeats = sizes_of(node.inputs[0]), _amounts(node, context, "repeats", 1)
    if 0 not in indices or sizes is None:
        return Opaque("Tile", _UNKNOWN)
    rank = len(sizes)
    times = [None] * rank if repeats is None else repeats
    after = tuple((axis,) if times[axis] == 1 else (rank + axis, axis) for axis in range(rank))
    before = permuted(sizes, range(rank)).before
    return Rearrange((Layout(before, after, (*_numbers(sizes), *times)),))


def expand(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Axes of size one grow, and new ones come in front."""
    sizes, grown = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    if 0 not in indices or sizes is None or grown is None:
        return Opaque("Expand", _UNKNOWN)
    new, rank = len(grown) - len(sizes), len(grown)
    named = [*(None,) * new, *sizes]
    stays = [  # a size that is not known may be one, and grow
        (size == grown[axis] and size is not None) or (isinstance(size, int) and size > 1)
        for axis, size in enumerate(named)
    ]
    after = tuple((axis,) if stays[axis] else (rank + axis,) for axis in range(rank))
    before = tuple((axis,) for axis in range(new, rank))
    return Rearrange((Layout(before, after, (*_numbers(named), *_numbers(grown))),))


_UNKNOWN = "whose sizes are not known; export the network with shapes"


def sizes_of(value: ir.Value | None) -> list[Size] | None:
    """Return a number, a name or nothing for each axis; None where not even the rank is known."""
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    return [None if isinstance(size, int) and size < 1 else size for size in sizes]  # -1 is free


def _numbers(sizes: Sequence[Size]) -> tuple[int | None, ...]:
    return tuple(number(size) for size in sizes)


def _amounts(node: ir.Node, context: Context, name: str, index: int) -> list[int] | None:
    """Return amounts that older opsets have as an attribute, and newer ones as an input."""
    given = node.attributes.get_ints(name)
    if given is not None:
        return list(given)
    array = context.known(node, index)
    return None if array is None else [int(one) for one in np.atleast_1d(array)]


LAYOUTS: dict[str, Callable[[ir.Node, list[int], Context], Operation | None]] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Tile": tile,
    "Expand": expand,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": depth_to_space,
}
