"""What rounding makes of the original itself, where one sample is right by chance."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx_networks import network
from training.folding.proof.evidence import Evidence
from training.folding.proof.inputs.seeded import Feed
from training.folding.proof.judging import imprecise_kinds, judge
from training.folding.proof.own_rounding import noise_nearby
from training.folding.proof.prove import compare_models
from training.folding.proof.tolerances import ERROR_FLOOR, FourLogits

TRUTH = np.array([[1.0, 0.5]])
ERROR = 1e-4  # of the other model; the original is right by chance


def evidence(kind: str = "large", error: float = ERROR, algebra: float = 0.0) -> Evidence:
    four = FourLogits(TRUTH, TRUTH + algebra, TRUTH, TRUTH + error)
    return Evidence("y", kind, (1, 2), four)


def test_an_error_that_the_original_makes_nearby_is_rounding() -> None:
    assert judge([evidence()]).outcome == "fails"
    assert judge([evidence()], nearby={("y", "large"): ERROR / 2}).holds


@pytest.mark.parametrize("place", [("y", "normal"), ("z", "large")])
def test_what_it_makes_elsewhere_explains_nothing(place: tuple[str, str]) -> None:
    assert judge([evidence()], nearby={place: 1.0}).outcome == "fails"


def test_a_larger_error_than_it_makes_nearby_is_a_fault() -> None:
    assert judge([evidence(error=10 * ERROR)], nearby={("y", "large"): ERROR}).outcome == "fails"


def test_wrong_algebra_is_never_rounding() -> None:
    verdict = judge([evidence(algebra=1e-6)], nearby={("y", "large"): 1.0})
    assert verdict.outcome == "fails"
    assert not verdict.is_imprecise


def test_a_label_is_explained_by_what_the_original_does_nearby_alone() -> None:
    four = FourLogits(TRUTH, TRUTH, TRUTH, TRUTH[:, ::-1])
    turned = Evidence("y", "large", (1, 2), four)
    assert imprecise_kinds([turned, evidence("normal", error=0.0)]) == {"large"}
    assert judge([turned]).unexplained_label_changes == 1
    assert judge([turned], nearby={("y", "normal"): 1.0}).unexplained_label_changes == 1
    assert judge([turned], nearby={("y", "large"): 1.0}).unexplained_label_changes == 0


CANCELLED = "(float[1,4] x) => (float[] y) { a = Add(x, far) y = Sub(a, far) }"


def cancelled(far: float) -> object:
    """Return a network that rounds to the steps of a number far away."""
    return network(CANCELLED, {"far": np.array([far], np.float32)})


def test_the_rounding_of_the_original_is_measured_next_to_an_input() -> None:
    """Zeros are right by chance, whatever is added and taken away again."""
    feed = Feed({"x": np.zeros((1, 4), np.float32)}, ("zeros",))
    noise = noise_nearby(cancelled(1e4), [feed], ERROR_FLOOR)
    step = np.spacing(np.float32(1e4))  # at most half of it is lost, of inputs near 1e-4 and less
    assert set(noise) == {("y", "zeros")}
    assert noise["y", "zeros"] > step / 2


def test_two_ways_to_round_are_one_network_and_a_channel_by_a_hundredth_is_not() -> None:
    right, rounds_elsewhere = cancelled(1e5), cancelled(-1e5)
    assert compare_models(right, rounds_elsewhere).holds
    scaled = network(
        "(float[1,4] x) => (float[] y) { s = Mul(x, m) a = Add(s, far) y = Sub(a, far) }",
        {"far": np.array([1e3], np.float32), "m": np.array([1, 1, 1, 1.01], np.float32)},
    )
    assert compare_models(cancelled(1e3), scaled).outcome == "fails"
