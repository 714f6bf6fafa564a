"""Folding any network leaves what it computes, and every name still means what it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neutral_graphs import Builder, carrier, computed, random_inputs
from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import (
    Affine,
    Average,
    BorderPad,
    Concat,
    Graph,
    KeptNorm,
    Linear,
    Maximum,
    Norm,
    Offset,
    Pad,
    Same,
    Sum,
    Value,
)
from training.folding.engine.planner import fold
from training.folding.engine.rule import Rule
from training.folding.engine.rules import RULES
from training.folding.engine.rules.branches import BackwardSum
from training.folding.engine.rules.linear import ForwardLinear, linear_map
from training.folding.engine.rules.offset import PassOffset
from training.folding.engine.rules.passage import Passage
from training.folding.engine.rules.rearrange import BackwardRearrange

ROUNDING = 1e-9  # float64 keeps 2e-16; a few dozen layers and borders of t / 0.3 amplify it


class _Wanderer:
    """Grows a random network, layer by layer, where folding has something to do."""

    def __init__(self, seed: int) -> None:
        self.build = Builder(seed)
        self.rng = self.build.rng
        size = int(self.rng.integers(1, 5))
        self.values = [self.build.source(size, *(6,) * int(self.rng.integers(1, 3)))]
        for _ in range(int(self.rng.integers(3, 16))):
            steps = self._flat if self.last.rank == 2 else self._spatial
            value = self.rng.choice(steps)(self, self._some())
            if value is not None and np.prod(value.shape) < 2000:
                self.values.append(value)
        self.graph = self.build.done()
        self.graph.clones = bool(self.rng.integers(2))

    @property
    def last(self) -> Value:
        return self.values[-1]

    def _some(self) -> Value:
        """Return the last value mostly, else one of the same rank before."""
        same = [value for value in self.values if value.rank == self.last.rank]
        return self.last if self.rng.random() < 0.75 else same[self.rng.integers(len(same))]

    def _conv(self, x: Value) -> Value | None:
        kernel = int(self.rng.integers(1, min(3, min(x.shape[2:])) + 1))
        groups = int(self.rng.choice([g for g in (1, 2, 3) if x.shape[1] % g == 0]))
        pad = int(self.rng.integers(0, 2))
        return self.build.conv(
            x,
            groups * int(self.rng.integers(1, 3)),
            kernel,
            pad=pad,
            groups=groups,
            bias=bool(self.rng.integers(2)),
        )

    def _transposed(self, x: Value) -> Value:
        return self.build.transposed(x, int(self.rng.integers(1, 3)))

    def _norm(self, x: Value) -> Value:
        map_ = self.build.map(x.shape[1])
        if self.rng.random() < 0.6:
            map_ = ChannelMap(np.abs(map_.scale), map_.shift)
        if self.rng.random() < 0.1:
            map_.scale[0] = 0
        return self.build.norm(x, map_)

    def _constant(self, x: Value) -> Value:
        size = x.shape[1] if self.rng.integers(2) else 1
        if self.rng.integers(2):
            return self.build.constant(x, self.rng.uniform(0.5, 2, size), 0)
        return self.build.constant(x, 1, self.rng.normal(size=size))

    def _kept(self, x: Value) -> Value:
        return self.build.node(KeptNorm(Norm(f"kept{len(self.values)}", 1), "in train mode"), x)

    def _relu(self, x: Value) -> Value:
        return self.build.relu(x)

    def _same(self, x: Value) -> Value:
        return self.build.node(Same(), x)

    def _maximum(self, x: Value) -> Value | None:
        return self.build.node(Maximum(), x) if x.shape[-1] > 1 else None

    def _average(self, x: Value) -> Value | None:
        attenuates = bool(self.rng.integers(2))
        return self.build.node(Average(attenuates), x) if x.shape[-1] > 2 else None

    def _pad(self, x: Value) -> Value:
        value = (None, 0.0, 1.5)[self.rng.integers(3)]
        return self.build.node(Pad(value, ((1, 2),) * (x.rank - 2)), x)

    def _sum(self, x: Value) -> Value:
        others = [value for value in self.values if value.shape == x.shape]
        return self.build.node(Sum(), x, others[self.rng.integers(len(others))])

    def _concat(self, x: Value) -> Value:
        others = [value for value in self.values if value.shape == x.shape]
        axis = int(self.rng.choice([1, x.rank - 1]))
        return self.build.node(Concat(axis), x, others[self.rng.integers(len(others))])

    def _flatten(self, x: Value) -> Value:
        return self.build.flatten(x)

    def _transpose(self, x: Value) -> Value:
        return self.build.transpose(x, 0, *(1 + self.rng.permutation(x.rank - 1)).tolist())

    def _regroup(self, x: Value) -> Value | None:
        """Split an axis in two, or join two."""
        axis = int(self.rng.integers(1, x.rank))
        sizes = list(x.shape)
        divisors = [d for d in (2, 3) if sizes[axis] % d == 0 and sizes[axis] > d]
        if divisors and x.rank < 4:
            divisor = int(self.rng.choice(divisors))
            sizes[axis : axis + 1] = [divisor, sizes[axis] // divisor]
        elif x.rank > 2:
            axis = min(axis, x.rank - 2)
            sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
        return self.build.reshape(x, *sizes)

    def _shuffle(self, x: Value) -> Value | None:
        """Channels by groups become channels by members."""
        groups = [g for g in (2, 3) if x.shape[1] % g == 0 and x.shape[1] > g]
        if not groups:
            return None
        batch, channels, *rest = x.shape
        split = self.build.reshape(x, batch, groups[0], channels // groups[0], *rest)
        swapped = self.build.transpose(split, 0, 2, 1, *range(3, split.rank))
        return self.build.reshape(swapped, *x.shape)

    def _split(self, x: Value) -> Value | None:
        axis = int(self.rng.choice([1, 1, x.rank - 1]))
        if x.shape[axis] < 2:
            return None
        place = int(self.rng.integers(1, x.shape[axis]))
        whole = range(x.shape[axis])
        if self.rng.integers(2):
            one, other = self.build.take(x, axis, list(whole[:place]), list(whole[place:]))
        else:  # as two slices
            (one,) = self.build.take(x, axis, list(whole[:place]))
            (other,) = self.build.take(x, axis, list(whole[place - self.rng.integers(2) :]))
        self.values.append(one)
        return self.build.norm(other) if self.rng.integers(2) else other

    def _gather(self, x: Value) -> Value:
        places = self.rng.integers(0, x.shape[1], int(self.rng.integers(1, 5)))
        (value,) = self.build.take(x, 1, places.tolist())
        return value

    def _offset(self, x: Value) -> Value:
        shape = [size if self.rng.integers(2) else 1 for size in x.shape[1:]]
        return self.build.node(Offset(self.rng.normal(size=(1, *shape)), np.dtype(np.float64)), x)

    def _block(self, x: Value) -> Value:
        """Two or three branches of one input, as in RepVGG."""
        channels = x.shape[1]
        groups = int(self.rng.choice([1, channels]))
        three = self.build.conv(x, channels, 3, pad=1, groups=groups)
        one = self._norm(self.build.conv(x, channels, 1, groups=groups))
        inner = self.build.node(Sum(), self._norm(three), one)
        return self.build.node(Sum(), inner, self._norm(x))

    def _dense(self, x: Value) -> Value:
        return self.build.dense(x, int(self.rng.integers(1, 5)))

    _spatial = (
        _conv, _conv, _transposed, _norm, _norm, _norm, _constant, _kept, _relu, _same, _maximum,
        _average, _pad, _sum, _concat, _flatten, _block, _transpose, _regroup, _shuffle, _split,
        _gather, _offset,
    )  # fmt: skip
    _flat = (
        _dense, _dense, _norm, _norm, _constant, _relu, _same, _sum, _concat, _regroup, _gather,
        _split, _shuffle, _offset,
    )  # fmt: skip


def _check(seed: int) -> list[str]:
    """Fold a random network and compare; return the patterns that were met."""
    wanderer = _Wanderer(seed)
    graph = wanderer.graph
    inputs = random_inputs(wanderer.build.sources, seed)
    before = computed(graph, inputs)
    outputs = [value for value in before if value.is_output]
    norms = [norm for node in graph.nodes for norm in _norms(node)]
    rows = fold(graph)
    after = computed(graph, inputs)
    scale = max(np.abs(array).max() for array in [*before.values(), *after.values()])
    by_name = {value.name: array for value, array in before.items()}
    pairs = [(value.name, before[value], after[carrier(graph, value)]) for value in outputs]
    pairs += [
        (value.original_name, by_name[value.original_name], array)
        for value, array in after.items()
        if value.original_name is not None
    ]
    for name, original, folded in pairs:
        assert np.abs(original - folded).max() <= ROUNDING * scale, f"{name} has other numbers"
    assert norms == [row.norm for row in rows if row.is_norm]
    _check_kept(graph, rows)
    _check_idempotent(graph)
    return [row.pattern for row in rows if row.pattern is not None]


def _patterns(seeds: range) -> set[str]:
    return {pattern for seed in seeds for pattern in _check(seed)}


def _norms(node) -> tuple[Norm, ...]:
    if isinstance(node.operation, KeptNorm):
        return (node.operation.norm,)
    return node.operation.norms if isinstance(node.operation, Affine) else ()


def _check_kept(graph, rows) -> None:
    """What stayed has a reason, and the probe of what went has an original name."""
    kept = {norms[0] for norms in map(_norms, graph.nodes) if norms}
    assert kept == {row.norm for row in rows if row.reason and row.is_norm}
    assert all(row.into for row in rows if row.folded)
    assert all(row.probe is None or row.probe.original_name is not None for row in rows)
    names = {node.name for node in graph.nodes}
    assert all(names.issuperset(row.into) for row in rows)


def _check_idempotent(graph) -> None:
    nodes, weights = list(graph.nodes), [_weight(node) for node in graph.nodes]
    assert not [row for row in fold(graph) if row.folded]
    assert nodes == graph.nodes
    for node, weight in zip(nodes, weights, strict=True):
        np.testing.assert_array_equal(weight, _weight(node))


def _weight(node) -> np.ndarray:
    operation = node.operation
    if isinstance(operation, Linear):
        return operation.map.weight()
    return operation.values if isinstance(operation, BorderPad) else np.zeros(0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1))
def test_a_folded_network_computes_the_same(seed):
    _check(seed)


def test_the_random_networks_meet_every_end_of_a_fold():
    assert _patterns(range(300)) >= {
        "linear → bn",
        "bn → linear",
        "bn → bn",
        "linear + bn",
    }


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_nodes_does_not_matter(seed):
    graphs = [_Wanderer(seed).graph for _ in range(2)]
    _shuffle(graphs[1], np.random.default_rng(seed))
    kept = [{row.norm.name for row in fold(graph) if row.reason} for graph in graphs]
    assert kept[0] == kept[1]
    kinds = [Counter(type(node.operation).__name__ for node in graph.nodes) for graph in graphs]
    assert kinds[0] == kinds[1]


def _shuffle(graph: Graph, rng: np.random.Generator) -> None:
    """Put the nodes into another order in which they can be computed."""
    waiting, graph.nodes[:] = list(graph.nodes), []
    while waiting:
        ready = [
            node
            for node in waiting
            if all(value.producer is None or value.producer in graph.nodes for value in node.inputs)
        ]
        node = ready[rng.integers(len(ready))]
        waiting.remove(node)
        graph.nodes.append(node)


class _ShiftInEveryBranch(BackwardSum):
    def check(self, move, graph):
        return tuple(move.onward(move.map, source) for source in move.node.inputs)


class _NoBorder(ForwardLinear):
    def rewrite(self, move, graph):
        linear_map(move.node).absorb_forward(move.map)


class _CutsOthers(BackwardRearrange):
    def check(self, move, graph):
        layout = move.node.operation.layouts[move.node.outputs.index(move.value)]
        map_, axes = layout.backward(move.map, move.axes, alone=True)
        return (move.onward(map_, move.node.inputs[0], axes),)


class _OffsetAsItWas(PassOffset):
    def rewrite(self, move, graph):
        """The constant stays as it was."""


class _AnySign(Passage):
    operation = Maximum


class _Attenuated(Passage):
    operation = Average


class _PadsAnything(Passage):
    operation = Pad


@pytest.mark.parametrize(
    "wrong",
    [
        _ShiftInEveryBranch(),
        _NoBorder(),
        _AnySign("backward"),
        _AnySign("forward"),
        _Attenuated("backward"),
        _PadsAnything("forward"),
        _CutsOthers(),
        _OffsetAsItWas("backward"),
        _OffsetAsItWas("forward"),
    ],
    ids=lambda rule: f"{type(rule).__name__} {rule.direction}",
)
def test_a_wrong_rule_is_found_out(monkeypatch, wrong: Rule):
    monkeypatch.setitem(RULES, (wrong.operation, wrong.direction), wrong)
    with pytest.raises(AssertionError, match=r"has other numbers"):
        _patterns(range(1500))
