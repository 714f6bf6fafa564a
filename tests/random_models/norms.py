"""Batch norms as nodes, and spelled out with constants."""

from __future__ import annotations

import numpy as np

from tests.random_models.scope import GONE, Scope, Tensor

SPELLED = "spelled_"  # begins the names of nodes that spell out a batch norm, which may stay


def batch_norm(scope: Scope, x: Tensor, *, gone: bool = False) -> Tensor:
    """A batch norm; `gone` where it can go into what follows."""
    positive = scope.chance(0.4)
    names, fixed = parameters(scope, x.shape[1], positive=positive)
    output = batch_norm_node(scope, x.name, names)
    back = x.takes(positive=positive)
    if fixed and (back or gone):
        scope.nodes[-1].name = GONE + scope.nodes[-1].name
    return Tensor(output, x.shape, 1, x.positive) if fixed and back else Tensor(output, x.shape)


def batch_norm_node(scope: Scope, x: str, names: list[str]) -> str:
    attributes = {} if scope.chance(0.3) else {"epsilon": scope.pick(1e-5, 1e-3, 0.02)}
    scope.world.norms += 1
    return scope.add("BatchNormalization", [x, *names], **attributes)[0]


def parameters(scope: Scope, channels: int, *, positive: bool) -> tuple[list[str], bool]:
    """Return gamma, beta, mean and variance, and whether callers may override none of them."""
    key = (channels, positive)
    if key not in scope.known or scope.chance(0.8):
        values = (
            scope.vector(channels, signs=not positive),
            scope.vector(channels, 0.1),
            scope.vector(channels, 0.1),
            scope.vector(channels, 1e-3, signs=False),
        )
        scope.known[key] = [scope.constant(one) for one in values]
    names: list[str] = scope.known[key]
    return names, scope.fixed(*names)


def spelled_out(scope: Scope, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(var + eps) * gamma + beta in one of the ways that exporters write it."""
    gamma, beta, mean, var = (scope.vector(x.shape[1], low) for low in (0.5, 0.1, 0.1, 0.1))
    var, first = np.abs(var), len(scope.nodes)
    shape = (x.shape[1], *(1,) * (x.rank - 2))
    write = scope.pick(_scale_and_shift, _divided, _multiplied)
    before = set(scope.world.overridable)
    output = write(scope, x.name, [one.reshape(shape) for one in (gamma, beta, mean, var)])
    fixed = scope.world.overridable == before
    back = x.takes(positive=bool((gamma > 0).all()))
    for node in scope.nodes[first:]:
        if fixed and not _is_side(node.name) and (back or (x.shape[1] > 1 and x.name != "x")):
            node.name = (GONE if back else SPELLED) + node.name
    return Tensor(output, x.shape, 1, x.positive) if fixed and back else Tensor(output, x.shape)


def _is_side(name: str) -> bool:
    return name.startswith(("side", "sqrt", "reciprocal"))


def _two(scope: Scope, kind: str, x: str, array: np.ndarray) -> str:
    """X with a constant, on either side where that is the same."""
    inputs = [x, scope.constant(array)]
    swapped = kind in ("Add", "Mul") and scope.chance(0.5)
    return scope.add(kind, inputs[::-1] if swapped else inputs)[0]


def _scale_and_shift(scope: Scope, x: str, stats: list[np.ndarray]) -> str:
    gamma, beta, mean, var = stats
    scale = gamma / np.sqrt(var + 1e-3)
    return _two(scope, "Add", _two(scope, "Mul", x, scale), beta - mean * scale)


def _divided(scope: Scope, x: str, stats: list[np.ndarray]) -> str:
    gamma, beta, mean, var = stats
    centered = _two(scope, "Sub", x, mean)
    deviation = _deviation(scope, var)
    whitened = scope.add("Div", [centered, deviation])[0]
    return _two(scope, "Add", _two(scope, "Mul", whitened, gamma), beta)


def _multiplied(scope: Scope, x: str, stats: list[np.ndarray]) -> str:
    gamma, beta, mean, var = stats
    inverse = scope.add("Reciprocal", [_deviation(scope, var)])[0]
    scaled = scope.add("Mul", [inverse, scope.constant(gamma)])[0]
    scope.nodes[-1].name = f"side_{scaled}"
    whitened = scope.add("Mul", [_two(scope, "Sub", x, mean), scaled])[0]
    return _two(scope, "Add", whitened, beta)


def _deviation(scope: Scope, var: np.ndarray) -> str:
    more = scope.add("Add", [scope.constant(var), scope.constant(1e-3)])[0]
    scope.nodes[-1].name = f"side_{more}"
    return scope.add("Sqrt", [more])[0]
