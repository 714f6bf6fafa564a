"""What moves numbers, takes means or maxima of them, or adds constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.random_models.scope import Scope, Tensor


def _amounts(scope: Scope, kind: str, x: Tensor, since: int, **amounts: Sequence[int]) -> str:
    """Append a node whose amounts are inputs since an opset, and attributes before."""
    given = {name: [int(one) for one in values] for name, values in amounts.items()}
    if scope.world.opset < since:
        return scope.then(kind, x, **given)
    return scope.then(kind, x, *(scope.constant(one, amount=True) for one in given.values()))


def activation(scope: Scope, x: Tensor) -> Tensor:
    """Anything that is not linear."""
    kind = scope.pick("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Silu", "Clip", "Abs", "Softplus")
    if kind == "Silu":
        return Tensor(scope.then("Mul", x, scope.then("Sigmoid", x)), x.shape)
    if kind == "Clip" and scope.world.opset >= 11:
        bounds = [scope.constant(-0.7), scope.constant(1.5)]
        return Tensor(scope.then("Clip", x, *bounds), x.shape)
    return Tensor(scope.then(kind, x), x.shape)


def constant(scope: Scope, x: Tensor) -> Tensor:
    """A number, a vector along the channels or a whole map, added or multiplied."""
    kind = scope.pick("Add", "Sub", "Mul", "Div", "Neg", "From")
    if kind == "Neg":
        return Tensor(scope.then("Neg", x), x.shape)
    shape: tuple[int, ...] = scope.pick((), (x.shape[1], *(1,) * (x.rank - 2)), x.shape[1:])
    whole = x.rank > 2 and len(shape) and shape[1:] != (1,) * (x.rank - 2)
    if whole and not scope.world.sized:
        shape = ()
    value = scope.constant(scope.vector(int(np.prod(shape, dtype=int))).reshape(shape))
    if kind == "From":
        return Tensor(scope.add("Sub", [value, x.name])[0], x.shape)
    return Tensor(scope.then(kind, x, value), x.shape)


def same(scope: Scope, x: Tensor) -> Tensor:
    """What changes nothing in inference mode."""
    kind = scope.pick("Identity", "Dropout", "Cast")
    attributes = {"to": scope.world.kind} if kind == "Cast" else {}
    return replace(x, name=scope.then(kind, x, **attributes))


def pool(scope: Scope, x: Tensor) -> Tensor | None:
    """A pool over windows of two, or of all positions."""
    if x.rank < 3 or min(x.shape[2:]) < 2 or not scope.world.sized:
        return None
    kind = scope.pick("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "padded")
    channels, spatial = x.shape[:2], x.rank - 2
    if kind.startswith("Global"):
        return _kept(
            scope, x, scope.then(kind, x), (*channels, *(1,) * spatial), maximum="Max" in kind
        )
    if kind == "padded":
        window: dict[str, Any] = {"kernel_shape": [2] * spatial, "pads": [1] * (2 * spatial)}
        window["count_include_pad"] = 1
        return Tensor(
            scope.then("AveragePool", x, **window), (*channels, *(n + 1 for n in x.shape[2:]))
        )
    shape = (*channels, *(size - 1 for size in x.shape[2:]))
    y = scope.then(kind, x, kernel_shape=[2] * spatial)
    return _kept(scope, x, y, shape, maximum=kind == "MaxPool")


def _kept(scope: Scope, x: Tensor, name: str, shape: tuple[int, ...], *, maximum: bool) -> Tensor:
    return Tensor(name, shape, x.axis if x.axis == 1 else None, x.positive or maximum)


def pad(scope: Scope, x: Tensor) -> Tensor | None:
    """A border of zeros, of another number, or of the image's own values."""
    if x.rank < 3 or min(x.shape[2:]) < 2:
        return None
    mode = scope.pick("constant", "reflect", "edge")
    amounts = [scope.pick(0, 1) for _ in range(2 * (x.rank - 2))]
    half = len(amounts) // 2
    pads = [0, 0, *amounts[:half], 0, 0, *amounts[half:]]
    if scope.world.opset < 11:
        y = scope.then("Pad", x, pads=pads, mode=mode)
    else:
        more = [scope.constant(0.5)] if mode == "constant" and scope.chance(0.5) else []
        y = scope.then("Pad", x, scope.constant(pads, amount=True), *more, mode=mode)
    sizes = [n + a + b for n, a, b in zip(x.shape[2:], amounts[:half], amounts[half:], strict=True)]
    axis = x.axis if mode != "constant" and x.axis == 1 else None
    return Tensor(y, (*x.shape[:2], *sizes), axis, x.positive)


def resize(scope: Scope, x: Tensor) -> Tensor | None:
    """Twice the size."""
    if x.rank != 4 or not scope.world.opset >= 9 or max(x.shape[2:]) > 8 or not scope.world.sized:
        return None
    mode = "nearest" if scope.world.opset < 11 else scope.pick("nearest", "linear")
    scales = scope.constant([1.0, 1, 2, 2]) if scope.world.dtype == np.float32 else None
    if scales is None:  # scales are float32 in any network
        scales = scope.constant([1.0, 1, 2, 2])
        scales = scope.add("Cast", [scales], to=1)[0]
    kind = "Upsample" if scope.world.opset < 10 else "Resize"
    inputs = [scales]
    if scope.world.opset >= 11:
        inputs = [scope.constant(np.zeros(0)) if scope.world.opset < 13 else "", scales]
    axis = x.axis if x.axis == 1 and scope.fixed(scales) else None
    shape = (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    return Tensor(scope.then(kind, x, *inputs, mode=mode), shape, axis, x.positive)


def transpose(scope: Scope, x: Tensor) -> Tensor | None:
    """Axes in another order, the batch first."""
    if x.rank < 3 or not scope.world.sized:
        return None
    order = [0, *(1 + scope.rng.permutation(x.rank - 1)).tolist()]
    axis = None if x.axis is None else order.index(x.axis)
    shape = tuple(x.shape[one] for one in order)
    return Tensor(scope.then("Transpose", x, perm=order), shape, axis, x.positive)


def reshape(scope: Scope, x: Tensor) -> Tensor | None:
    """Two axes become one, or one becomes two."""
    if not scope.world.sized or x.rank < 2:
        return None
    place = int(scope.rng.integers(1, x.rank))
    sizes, size = list(x.shape), x.shape[place]
    if place + 1 < x.rank and scope.chance(0.5):
        sizes[place : place + 2] = [size * x.shape[place + 1]]
        stays = {
            axis: axis - (axis > place) for axis in range(x.rank) if axis not in (place, place + 1)
        }
    elif x.rank < 5 and size % 2 == 0:
        sizes[place : place + 1] = [2, size // 2]
        stays = {axis: axis + (axis > place) for axis in range(x.rank) if axis != place}
    else:
        return None
    target = [0, *sizes[1:]] if scope.chance(0.5) else [-1, *sizes[1:]]
    y = scope.then("Reshape", x, scope.constant(target, amount=True))
    return Tensor(y, tuple(sizes), stays.get(x.axis or 0) if x.axis else None, x.positive)


def unit_axis(scope: Scope, x: Tensor) -> Tensor | None:
    """An axis of size one comes, or goes."""
    ones = [axis for axis in range(1, x.rank) if x.shape[axis] == 1 and axis != x.axis]
    if not scope.world.sized:
        return None
    if ones and x.rank > 2:
        axis = ones[0]
        y = _amounts(scope, "Squeeze", x, 13, axes=[axis])
        moved = None if x.axis is None else x.axis - (x.axis > axis)
        return Tensor(y, (*x.shape[:axis], *x.shape[axis + 1 :]), moved, x.positive)
    if x.rank > 3:
        return None
    axis = scope.pick(1, x.rank)
    y = _amounts(scope, "Unsqueeze", x, 13, axes=[axis])
    moved = None if x.axis is None else x.axis + (x.axis >= axis)
    return Tensor(y, (*x.shape[:axis], 1, *x.shape[axis:]), moved, x.positive)


def slice_(scope: Scope, x: Tensor) -> Tensor | None:
    """Some places of an axis."""
    axis = int(scope.rng.integers(1, x.rank))
    size = x.shape[axis]
    if size < 2 or not scope.world.sized:
        return None
    start, end = scope.pick(0, 1), scope.pick(size, -1, 2**31 - 1)
    left = len(range(size)[start:end])
    if left == 0:
        return None
    y = _amounts(scope, "Slice", x, 10, starts=[start], ends=[end], axes=[axis])
    return replace(x, name=y, shape=(*x.shape[:axis], left, *x.shape[axis + 1 :]))


def gather(scope: Scope, x: Tensor) -> Tensor | None:
    """Channels in another order, perhaps one of them twice."""
    if not scope.world.sized:
        return None
    twice = scope.chance(0.3)
    places = (
        scope.rng.integers(0, x.shape[1], x.shape[1])
        if twice
        else scope.rng.permutation(x.shape[1])
    )
    y = scope.then("Gather", x, scope.constant(places, amount=True), axis=1)
    kept = x.axis if x.axis != 1 or not twice else None
    return Tensor(y, x.shape, kept, x.positive)


def depth_to_space(scope: Scope, x: Tensor) -> Tensor | None:
    """Channels become places."""
    if x.rank != 4 or x.shape[1] % 4 or max(x.shape[2:]) > 6 or not scope.world.sized:
        return None
    batch, channels, height, width = x.shape
    attributes = {"mode": scope.pick("DCR", "CRD")} if scope.world.opset >= 11 else {}
    y = scope.then("DepthToSpace", x, blocksize=2, **attributes)
    axis = x.axis if x.axis == 1 else None
    return Tensor(y, (batch, channels // 4, 2 * height, 2 * width), axis, x.positive)


def flatten(scope: Scope, x: Tensor) -> Tensor | None:
    """Means of all positions, as a vector for each sample."""
    if x.rank < 3:
        return None
    y = Tensor(scope.then("GlobalAveragePool", x), x.shape)
    return Tensor(
        scope.then("Flatten", y), x.shape[:2], x.axis if x.axis == 1 else None, x.positive
    )


def mean(scope: Scope, x: Tensor) -> Tensor | None:
    """The mean over the last axis."""
    if x.rank < 3 or not scope.world.sized:
        return None
    if scope.world.opset >= 18:
        y = scope.then("ReduceMean", x, scope.constant([x.rank - 1], amount=True), keepdims=0)
    else:
        y = scope.then("ReduceMean", x, axes=[x.rank - 1], keepdims=0)
    return Tensor(y, x.shape[:-1], x.axis if x.axis == 1 and x.rank > 2 else None, x.positive)


def split(scope: Scope, x: Tensor) -> list[Tensor]:
    """Two parts of an axis."""
    axis = int(scope.rng.integers(1, x.rank))
    size = x.shape[axis]
    if size < 2 or not scope.world.sized:
        return []
    sizes = [1, size - 1]
    if scope.world.opset < 13:
        names = scope.add("Split", [x.name], outputs=2, axis=axis, split=sizes)
    else:
        amounts = scope.constant(sizes, amount=True)
        names = scope.add("Split", [x.name, amounts], outputs=2, axis=axis)
    shapes = [(*x.shape[:axis], one, *x.shape[axis + 1 :]) for one in sizes]
    kept = x.axis if axis == x.axis else None
    return [Tensor(n, s, kept, x.positive) for n, s in zip(names, shapes, strict=True)]
