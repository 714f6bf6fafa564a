from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Golden
from service.errors import ModelRefusedError
from service.inference.session import Scores
from service.inference.startup_checks import (
    MAX_STATED_TOLERANCE,
    check_golden,
    check_graph,
    check_independence,
    golden_tolerance,
    prove_answers,
)
from tests import synthetic

NETWORK = synthetic.random_network(3, norms=True)
IMAGES = synthetic.random_images(3, 8)
GOLDEN = Golden(IMAGES, NETWORK.logits(IMAGES))
SCALE = float(np.abs(GOLDEN.logits).max())


class FakeSession:
    """Gives the logits of a function; probabilities do not matter here."""

    def __init__(self, logits: Callable[[NDArray[np.uint8]], NDArray[np.floating]]) -> None:
        self._logits = logits

    def run(self, images: NDArray[np.uint8]) -> Scores:
        logits = self._logits(images).astype(np.float32)
        return Scores(logits, logits)


def changed(**parts: object) -> FakeSession:
    """A network of other weights than the golden logits are of."""
    fields = {name: getattr(NETWORK, name) for name in NETWORK.__dataclass_fields__}
    return FakeSession(synthetic.Network(**fields | parts).logits)


def test_the_network_itself_passes() -> None:
    proof = prove_answers(FakeSession(NETWORK.logits), GOLDEN)
    assert proof.golden_images == 8
    assert proof.golden_error <= SCALE * 2**-24
    assert proof.neighbour_difference == 0


def test_a_channel_scaled_by_a_hundredth_is_refused() -> None:
    kernel = NETWORK.kernels[1].copy()
    kernel[5] *= 1.01  # an active channel: some are dead on these images
    with pytest.raises(ModelRefusedError, match="golden logits are off by"):
        check_golden(changed(kernels=(NETWORK.kernels[0], kernel)), GOLDEN)


def test_a_dropped_beta_is_refused() -> None:
    norm = NETWORK.norms[1]
    assert norm is not None
    flat = synthetic.Norm(norm.gamma, np.zeros_like(norm.beta), norm.mean, norm.var)
    with pytest.raises(ModelRefusedError, match="golden logits"):
        check_golden(changed(norms=(NETWORK.norms[0], flat)), GOLDEN)


def test_an_omitted_eps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "EPS", 0.0)
    with pytest.raises(ModelRefusedError, match="golden logits"):
        check_golden(FakeSession(NETWORK.logits), GOLDEN)


def test_an_error_within_the_tolerance_passes() -> None:
    error = 0.9 * 6.1e-5 * SCALE
    session = FakeSession(lambda images: NETWORK.logits(images) + error)
    assert error == pytest.approx(check_golden(session, GOLDEN), rel=0.01)


@pytest.mark.parametrize(
    ("stated", "share"),
    [(None, 6.1e-5), (1_000, 6.1e-5), (262_144, 1.22e-4), (2**60, MAX_STATED_TOLERANCE)],
)
def test_a_network_that_sums_more_products_may_round_more(stated: int | None, share: float) -> None:
    golden = replace(GOLDEN, summed_products=stated)
    assert golden_tolerance(golden) == pytest.approx(share * SCALE, rel=0.01)


def test_a_network_that_sums_many_products_is_refused_with_a_channel_scaled() -> None:
    kernel = NETWORK.kernels[1].copy()
    kernel[5] *= 1.01
    wrong = changed(kernels=(NETWORK.kernels[0], kernel))
    with pytest.raises(ModelRefusedError, match="golden logits are off by"):
        check_golden(wrong, replace(GOLDEN, summed_products=1_000_000))


def test_logits_that_are_not_numbers_are_refused() -> None:
    session = FakeSession(lambda images: NETWORK.logits(images) * np.nan)
    with pytest.raises(ModelRefusedError, match="off by nan"):
        check_golden(session, GOLDEN)


def test_a_wrong_answer_to_an_image_alone_is_refused() -> None:
    def wrong_alone(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return NETWORK.logits(images) + (len(images) == 1)

    with pytest.raises(ModelRefusedError, match="golden logits are off by 1"):
        check_golden(FakeSession(wrong_alone), GOLDEN)


def test_an_answer_that_depends_on_its_batch_is_refused() -> None:
    def by_batch(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return NETWORK.logits(images) + 1e-3 * images.mean() * (len(images) > 8)

    session = FakeSession(lambda images: by_batch(np.concatenate([images] * 3))[: len(images)])
    with pytest.raises(ModelRefusedError, match="with its neighbours in the batch"):
        check_independence(session, GOLDEN, tolerance=1e-5 * SCALE)


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match="no ONNX file"):
        check_graph(b"\x00garbage")


def test_a_stated_tolerance_replaces_that_of_rounding() -> None:
    stated = replace(GOLDEN, tolerance=0.01 * SCALE)
    session = FakeSession(lambda images: NETWORK.logits(images) + 0.009 * SCALE)
    proof = prove_answers(session, stated)
    assert proof.golden_tolerance == stated.tolerance
    assert proof.golden_error == pytest.approx(0.009 * SCALE, rel=1e-4)
    with pytest.raises(ModelRefusedError, match="is rounding"):
        prove_answers(session, GOLDEN)


def test_an_error_beyond_the_stated_tolerance_is_refused() -> None:
    session = FakeSession(lambda images: NETWORK.logits(images) + 0.011 * SCALE)
    with pytest.raises(ModelRefusedError, match="is the noise of quantization"):
        check_golden(session, replace(GOLDEN, tolerance=0.01 * SCALE))


def test_a_batch_may_move_a_quantized_answer_within_the_stated_tolerance_only() -> None:
    stated = replace(GOLDEN, tolerance=0.01 * SCALE)

    def by_neighbours(share: float) -> FakeSession:
        shift = share * SCALE
        return FakeSession(lambda images: NETWORK.logits(images) + shift * (len(images) == 8))

    alone = FakeSession(NETWORK.logits)
    tolerance = prove_answers(alone, stated).neighbour_tolerance
    assert tolerance == pytest.approx(0.01 * SCALE, rel=1e-3)
    check_independence(by_neighbours(0.009), stated, tolerance)
    with pytest.raises(ModelRefusedError, match="with its neighbours in the batch"):
        check_independence(by_neighbours(0.011), stated, tolerance)


@pytest.mark.parametrize("share", [1.01 * MAX_STATED_TOLERANCE, np.inf, np.nan])
def test_a_stated_tolerance_that_proves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ModelRefusedError, match="quantize the network again"):
        prove_answers(FakeSession(NETWORK.logits), replace(GOLDEN, tolerance=share * SCALE))
