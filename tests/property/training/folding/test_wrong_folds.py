"""Folds that are wrong on purpose: the proof says so of each that changes what a model computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from tests.random_models import oracle
from tests.random_models.model import RandomModel, random_model
from training.folding.algebra import affine
from training.folding.algebra.affine import BatchNormStats, ChannelMap
from training.folding.algebra.linear_map import LinearMap
from training.folding.onnx_fold import read_proto
from training.folding.onnx_frontend import fold_model
from training.folding.onnx_frontend.folded_model import FoldedModel
from training.folding.onnx_frontend.readers import norms
from training.folding.proof.prove import prove_fold

SEEDS = range(1, 40)
ENOUGH = 2  # models on which a fault must show
VISIBLE = 1e-3  # of the scale: a hundred times what the oracle allows for rounding
pytestmark = pytest.mark.filterwarnings("ignore")
Absorb = Callable[[LinearMap, ChannelMap], None]


def _flipped(absorb: Absorb) -> Absorb:
    return lambda layer, map_: absorb(layer, ChannelMap(map_.scale, -map_.shift))


def _permuted(absorb: Absorb) -> Absorb:
    return lambda layer, map_: absorb(
        layer, ChannelMap(np.roll(map_.scale, 1), np.roll(map_.shift, 1))
    )


def _without_bias(absorb: Absorb) -> Absorb:
    def wrong(layer: LinearMap, map_: ChannelMap) -> None:
        layer.bias = None
        absorb(layer, map_)

    return wrong


def _slightly_larger(absorb: Absorb) -> Absorb:
    return lambda layer, map_: absorb(layer, ChannelMap(1.01 * map_.scale, map_.shift))


def _count_caught() -> int:
    caught = (seed for seed in SEEDS if _caught(random_model(seed)))
    return len(list(islice(caught, ENOUGH)))


def _caught(drawn: RandomModel) -> bool:
    """Whether a fold is seen to be wrong; by the proof wherever it is by the oracle."""
    original = read_proto(drawn.proto)
    folded = fold_model(original)
    return _proved_wrong(drawn, original, folded.model, folded)


def _proved_wrong(
    drawn: RandomModel, original: ir.Model, wrong: ir.Model, folded: FoldedModel
) -> bool:
    truth = oracle.served(drawn.proto, drawn.inputs, optimized=False)
    served = oracle.served(ir.to_proto(wrong), drawn.inputs, optimized=False)
    if oracle.error(truth, served) <= VISIBLE:
        return False
    verdict = prove_fold(original, replace(folded, model=wrong), sizes=drawn.sizes)
    assert verdict.outcome == "fails", str(verdict)
    return True


@pytest.mark.parametrize("wrong", [_flipped, _permuted, _without_bias, _slightly_larger])
def test_an_engine_that_folds_wrongly_is_found_out(
    wrong: Callable[[Absorb], Absorb], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("absorb_backward", "absorb_forward"):
        monkeypatch.setattr(LinearMap, name, wrong(getattr(LinearMap, name)))
    assert _count_caught() == ENOUGH


def test_an_epsilon_that_is_left_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_eps(stats: BatchNormStats) -> ChannelMap:
        return affine.channel_map(replace(stats, eps=0.0))

    monkeypatch.setattr(norms, "channel_map", without_eps)
    assert _count_caught() == ENOUGH


def test_the_branch_of_an_if_that_is_altered_is_found_out() -> None:
    seen = 0
    for seed in SEEDS:
        drawn = random_model(seed)
        original = read_proto(drawn.proto)
        folded = fold_model(original)
        if folded.unchanged or (wrong := _altered_branch(folded.model)) is None:
            continue
        seen += _proved_wrong(drawn, original, wrong, folded)
        if seen == ENOUGH:
            return
    pytest.fail(f"only {seen} of them were seen")


def _altered_branch(model: ir.Model) -> ir.Model | None:
    """Return a copy in which one of the two branches of an If is a little off."""
    copy = model.clone()
    for node in copy.graph:
        if node.op_type != "If" or not node.inputs[0] or not node.inputs[0].is_graph_input():
            continue
        body = node.attributes["then_branch"].as_graph()
        for value in body.initializers.values():
            array = value.const_value.numpy()  # type: ignore[union-attr] # an initializer
            if array.dtype == np.float32 and array.ndim > 2:
                value.const_value = ir.tensor(_turned(array), name=value.name)
                return copy
    return None


def _turned(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(-array)


def test_a_right_engine_is_not() -> None:
    assert not any(_caught(random_model(seed)) for seed in SEEDS[:12])
