"""A graph, a body or a function that is being written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.random_models.constants import AMOUNTS, FORMS, Written, written

GONE = "gone_"  # begins the names of nodes whose batch norm can go exactly
BATCH = 2


@dataclass(frozen=True)
class Tensor:
    """What a node returns.

    Attributes:
        shape: with BATCH first, also where that is free in the file.
        axis: of the output channels of the layers that it comes from, along which a map may go
            back into these; None where it may not.
        positive: whether only a map with positive scales may, as past a MaxPool.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None = None
    positive: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    def takes(self, *, positive: bool) -> bool:
        """Whether a map along axis 1 may go back."""
        return self.axis == 1 and (positive or not self.positive)


@dataclass
class World:
    """What all graphs of a model have in common.

    Attributes:
        dtype: of the numbers; both types get the same ones.
        sized: whether all sizes but the batch are in the file, so that numbers can be traced
            through a change of shape.
    """

    seed: int
    opset: int
    ir_version: int
    dtype: type
    sized: bool = True
    number: int = 0
    norms: int = 0
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    overridable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    @property
    def kind(self) -> int:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)))


@dataclass
class Scope:
    """Where nodes and constants are written.

    Attributes:
        forms: of constants that this kind of graph has.
        outer: the graph around a body, whose constants it may read.
    """

    world: World
    forms: tuple[str, ...] = FORMS
    outer: Scope | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: Written = field(default_factory=Written)
    known: dict[Any, list[str]] = field(default_factory=dict)

    @property
    def rng(self) -> np.random.Generator:
        return self.world.rng

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def new_name(self, stem: str) -> str:
        self.world.number += 1
        return f"{stem}{self.world.number}"

    def add(
        self, kind: str, inputs: list[str], *, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Append a node; return the names of its outputs."""
        name = self.new_name(kind.lower())
        names = [f"{name}_{place}" for place in range(outputs)]
        node = helper.make_node(kind, inputs, names, domain=domain, name=name, **attributes)
        self.nodes.append(node)
        return names

    def then(self, kind: str, x: Tensor, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output that reads a tensor first."""
        return self.add(kind, [x.name, *inputs], **attributes)[0]

    def constant(self, array: Any, *, amount: bool = False, inside: bool = False) -> str:
        """Write a constant in a random form that this graph has, or the one around it.

        `inside` says that a body reads it: onnxruntime finds no sparse ones from there.
        """
        if self.outer is not None and self.chance(0.3):
            return self.outer.constant(array, amount=amount, inside=True)
        kind = np.int64 if amount else self.world.dtype
        forms = [form for form in self.forms if not amount or form in AMOUNTS]
        if amount and self.world.opset < 9:  # where Constant has numbers of one type
            forms = ["raw", "typed"] if "raw" in forms else forms
        forms = [form for form in forms if not (inside and form == "sparse")]
        form = "raw" if "raw" in forms and self.chance(0.4) else self.pick(*forms)
        name = self.new_name("c")
        exact = np.asarray(array) if amount else np.asarray(array, np.float32)
        made = written(exact.astype(kind), name, form, self.world.opset)
        self.constants += made
        if form == "overridable":
            self.world.overridable.add(name)
        return name

    def fixed(self, *names: str) -> bool:
        """Whether callers may override none of these."""
        return self.world.overridable.isdisjoint(names)

    def vector(self, size: int, low: float = 0.5, high: float = 1.5, *, signs: bool = True) -> Any:
        """Return numbers away from zero; alike now and then, so that they can be written short."""
        values = self.rng.uniform(low, high, size)
        values *= self.rng.choice([-1, 1], size) if signs else 1
        return np.full(size, values[0]) if self.chance(0.2) else values
