"""The verdict: what it accepts as rounding and what it calls a fault."""

import numpy as np
import pytest

from training.folding.proof.tolerances import FourLogits
from training.release.fold_proof import prove


def four_logits(seed=0, images=50, noise=1e-6):
    """Logits as an honest fold gives them: float32 errors of the same size on both sides."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(scale=5, size=(images, 10))

    def rounded():
        return (truth + generator.uniform(-noise, noise, truth.shape)).astype(np.float32)

    return FourLogits(truth, truth * (1 + 1e-15), rounded(), rounded())


def changed(logits, **changes):
    return FourLogits(**{**vars(logits), **changes})


def test_an_honest_fold_is_accepted():
    proof = prove(four_logits(), four_logits(1))
    assert proof.holds
    assert (proof.label_changes, proof.unexplained_label_changes) == (0, 0)
    assert proof.images == 50


def scaled_channel(values):
    wrong = values.copy()
    wrong[:, 3] *= 1.01
    return wrong


FAULTS = {
    "a wrong algebra": lambda f: changed(f, algebra=f.algebra + 1e-7),
    "a channel scaled by 1.01": lambda f: changed(f, folded=scaled_channel(f.folded)),
    "precision lost": lambda f: changed(f, folded=f.folded + np.float32(1e-4)),
    "not a number": lambda f: changed(f, folded=f.folded * np.float32(np.nan)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_on_the_test_images_is_rejected(fault):
    assert not prove(fault(four_logits()), four_logits(1)).holds


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_on_the_adversarial_inputs_is_rejected(fault):
    assert not prove(four_logits(), fault(four_logits(1))).holds


def test_one_unexplained_label_change_alone_breaks_the_proof():
    """Large errors on one image hide behind an unfolded error as large, but the label does not."""
    logits = four_logits()
    noisy = logits.unfolded.copy()
    noisy[0, 0] += 1e-3  # the allowance is now 3e-3
    folded = logits.folded.copy()
    best, second = np.argsort(folded[1])[::-1][:2]
    folded[1, best] = folded[1, second] - np.float32(1e-4)
    margin = logits.unfolded[1, best] - logits.unfolded[1, second]
    assert margin > 0.01
    proof = prove(changed(logits, unfolded=noisy, folded=folded), four_logits(1))
    assert proof.unexplained_label_changes == 1
    assert not proof.holds


@pytest.mark.parametrize("broken", ["truth", "algebra", "unfolded", "folded"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_nothing_is_proved_against_what_is_not_finite(broken, value):
    """An infinite reference would allow any error at all."""
    logits = four_logits(1)
    wrong = getattr(logits, broken).copy()
    wrong[0, 0] = value
    proof = prove(four_logits(), changed(logits, **{broken: wrong}))
    assert not proof.holds
    assert np.isinf(proof.adversarial_error_ratio)
