"""What is linear, with constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.random_models.norms import batch_norm
from tests.random_models.scope import GONE, Scope, Tensor


def weight(scope: Scope, *shape: int) -> str:
    """Return random weights, some of them zero."""
    values = scope.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    values[scope.rng.random(shape) < scope.pick(0, 0.3)] = 0
    return scope.constant(values)


def conv(scope: Scope, x: Tensor, channels: int | None = None) -> Tensor:
    """A convolution of any geometry, grouped or not."""
    groups = int(scope.rng.choice([n for n in (1, 1, 2, 3) if x.shape[1] % n == 0]))
    channels = channels or groups * scope.pick(1, 2, 3)
    groups = groups if channels % groups == 0 else 1
    sizes = x.shape[2:]
    kernel = [min(scope.pick(1, 2, 3), size) for size in sizes]
    attributes: dict[str, Any] = {"group": groups}
    begin, end = ([scope.pick(0, 0, 1) for _ in sizes] for _ in range(2))
    strides = [scope.pick(1, 1, 2) for _ in sizes]
    after = [
        (size + one + other - k) // stride + 1
        for size, one, other, k, stride in zip(sizes, begin, end, kernel, strides, strict=True)
    ]
    if scope.chance(0.2) and scope.world.sized:
        attributes |= {"auto_pad": scope.pick("SAME_UPPER", "SAME_LOWER"), "strides": strides}
        after = [-(-size // stride) for size, stride in zip(sizes, strides, strict=True)]
    else:
        attributes |= {"pads": [*begin, *end], "strides": strides}
    names = [weight(scope, channels, x.shape[1] // groups, *kernel)]
    if scope.chance(0.5):
        names.append(scope.constant(scope.vector(channels, 0.1)))
    if scope.chance(0.5):
        attributes["kernel_shape"] = kernel
    output = scope.then("Conv", x, *names, **attributes)
    return Tensor(output, (x.shape[0], channels, *after), 1 if scope.fixed(*names) else None)


def same_conv(scope: Scope, x: Tensor, channels: int) -> Tensor:
    """A convolution that keeps the sizes."""
    kernel = scope.pick(1, 3)
    spatial = x.rank - 2
    names = [weight(scope, channels, x.shape[1], *(kernel,) * spatial)]
    if scope.chance(0.5):
        names.append(scope.constant(scope.vector(channels, 0.1)))
    output = scope.then("Conv", x, *names, pads=[kernel // 2] * (2 * spatial))
    return Tensor(output, (x.shape[0], channels, *x.shape[2:]), 1 if scope.fixed(*names) else None)


def transposed(scope: Scope, x: Tensor) -> Tensor:
    """A transposed convolution."""
    groups = int(scope.rng.choice([n for n in (1, 2) if x.shape[1] % n == 0]))
    channels = groups * scope.pick(1, 2)
    stride, kernel = scope.pick(1, 2), scope.pick(1, 2)
    names = [weight(scope, x.shape[1], channels // groups, *(kernel,) * (x.rank - 2))]
    if scope.chance(0.5):
        names.append(scope.constant(scope.vector(channels, 0.1)))
    strides = [stride] * (x.rank - 2)
    output = scope.then("ConvTranspose", x, *names, group=groups, strides=strides)
    sizes = [(size - 1) * stride + kernel for size in x.shape[2:]]
    return Tensor(output, (x.shape[0], channels, *sizes), 1 if scope.fixed(*names) else None)


def gemm(scope: Scope, x: Tensor) -> Tensor:
    """A dense layer."""
    channels, transposes = scope.pick(2, 3, 4), scope.chance(0.5)
    shape = (channels, x.shape[1]) if transposes else (x.shape[1], channels)
    names = [weight(scope, *shape)]
    attributes: dict[str, Any] = {"transB": 1} if transposes else {}
    if scope.chance(0.7) or scope.world.opset < 11:
        bias = scope.vector(channels, 0.1)
        names.append(scope.constant(bias[None] if scope.chance(0.3) else bias))
    if scope.chance(0.3):
        attributes |= {"alpha": 0.5, "beta": 2.0}
    output = scope.then("Gemm", x, *names, **attributes)
    return Tensor(output, (x.shape[0], channels), 1 if scope.fixed(*names) else None)


def matmul(scope: Scope, x: Tensor) -> Tensor:
    """A matrix product on the last axis, with a bias or without."""
    channels = scope.pick(2, 3, 4)
    name = weight(scope, x.shape[-1], channels)
    shape = (*x.shape[:-1], channels)
    y = Tensor(scope.then("MatMul", x, name), shape, x.rank - 1 if scope.fixed(name) else None)
    if scope.chance(0.5):
        bias = scope.constant(scope.vector(channels, 0.1))
        inputs = [y.name, bias] if scope.chance(0.5) else [bias, y.name]
        y = Tensor(scope.add("Add", inputs)[0], shape, y.axis if scope.fixed(bias) else None)
    return y


def shared(scope: Scope, x: Tensor) -> Tensor:
    """Two layers with the same weights; their outputs side by side."""
    name = weight(scope, x.shape[1], x.shape[1], *(1,) * (x.rank - 2))
    first = scope.then("Conv", x, name)
    second = scope.add("Conv", [scope.add("Relu", [first])[0], name])[0]
    shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
    return Tensor(scope.add("Concat", [first, second], axis=1)[0], shape)


def norm_then_layer(scope: Scope, x: Tensor) -> Tensor:
    """A batch norm that can go into the layer behind it, whatever is before it."""
    y = batch_norm(scope, x)
    norm = scope.nodes[-1]
    layer = gemm if x.rank == 2 else conv
    z = layer(scope, y)
    sure = not any(one.name == "auto_pad" for one in scope.nodes[-1].attribute)  # by sizes, known
    fixed = z.axis is not None and scope.fixed(*norm.input[1:])
    if sure and fixed and not norm.name.startswith(GONE):
        norm.name = GONE + norm.name
    return z
