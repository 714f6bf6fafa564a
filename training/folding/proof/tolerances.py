"""The proof that folding changed nothing but rounding.

Logits of the same images, four ways:

    truth       the unfolded network in float64
    algebra     the folded network in float64, its weights never rounded
    unfolded    the unfolded graph in float32
    folded      the folded graph in float32, as it is served

and the verdict, which holds if all of these do:

    1  the algebra is right     max |algebra - truth|  <= 1e-10 * scale
    2  no precision is lost     max |folded - truth|   <= allowance
    3  no label changes unless the unfolded network's two best classes were closer than rounding
       can tell: margin < 2 * allowance
    4  both 1 and 2 hold on adversarial inputs too

where every logit is finite, scale = max |truth| and
allowance = 3 * max |unfolded - truth| + 1e-6 * scale. A fixed tolerance would either miss faults or
reject rounding; this one measures the rounding that the unfolded network has anyway. Rule 3 must
not take the observed difference for the allowance: no label can change unless the margin is at most
twice that, so the rule would accept every fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALGEBRA_TOLERANCE = 1e-10
ERROR_FACTOR = 3.0
ERROR_FLOOR = 1e-6


@dataclass(frozen=True)
class FourLogits:
    """Logits (N, C), or outputs of any shape, of the same inputs, as the module says.

    `floor` is what rounding alone may make of numbers as large as 1: about eight of the steps of
    the type that the weights are kept in.
    """

    truth: NDArray[np.float64]
    algebra: NDArray[np.float64]
    unfolded: NDArray[np.floating]
    folded: NDArray[np.floating]
    floor: float = ERROR_FLOOR

    @property
    def scale(self) -> float:
        """Largest absolute logit."""
        return float(np.abs(self.truth).max(initial=0.0))

    def error_ratio(self) -> float:
        """Return the worst of both errors over what is allowed: at most 1 where the fold holds.

        Infinite where any logit is not finite: against such a reference everything would pass.
        """
        if not self.is_finite:
            return float("inf")
        return max(self.algebra_ratio, self.rounding_ratio)

    @property
    def is_finite(self) -> bool:
        """Whether every number of all four is finite."""
        every = (self.truth, self.algebra, self.unfolded, self.folded)
        return all(bool(np.isfinite(logits).all()) for logits in every)

    @property
    def algebra_ratio(self) -> float:
        """Rule 1: error in float64 over what is allowed."""
        error = largest_difference(self.algebra, self.truth)
        return _ratio(error, ALGEBRA_TOLERANCE * self.scale)

    @property
    def rounding_ratio(self) -> float:
        """Rule 2: error as it is served over what is allowed."""
        return self.ratio_for(0.0)

    def ratio_for(self, noise: float) -> float:
        """Rule 2 where the unfolded network is known to err by `noise` x scale on other inputs."""
        return _ratio(largest_difference(self.folded, self.truth), self.allowance_for(noise))

    def allowance_for(self, noise: float) -> float:
        """Largest error that is rounding where the unfolded one errs by `noise` x scale nearby."""
        known = max(largest_difference(self.unfolded, self.truth), noise * self.scale)
        return rounding_allowance(known, self.scale, self.floor)

    @property
    def noise(self) -> float:
        """Error of the unfolded network over the scale."""
        return _ratio(largest_difference(self.unfolded, self.truth), self.scale)

    @property
    def allowance(self) -> float:
        """Largest error that is still rounding."""
        return self.allowance_for(0.0)


def _ratio(error: float, allowed: float) -> float:
    if error == 0:
        return 0.0
    return error / allowed if allowed else float("inf")


def rounding_allowance(error: float, scale: float, floor: float = ERROR_FLOOR) -> float:
    """Return the error that rounding explains where it is known to make one of `error`."""
    return ERROR_FACTOR * error + floor * scale


def largest_difference(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return max |left - right|, infinite where either is not a number."""
    with np.errstate(invalid="ignore"):  # infinite on both sides: no number either
        difference = np.abs(left.astype(np.float64) - right)
    return float(difference.max(initial=0.0)) if np.isfinite(difference).all() else float("inf")


def label_changes(
    unfolded: NDArray[np.floating], folded: NDArray[np.floating], allowance: float
) -> tuple[int, int]:
    """Return how many labels differ, and how many of those rounding does not explain."""
    changed = unfolded.argmax(axis=1) != folded.argmax(axis=1)
    second, best = np.sort(unfolded[changed].astype(np.float64), axis=1)[:, -2:].T
    unexplained = best - second >= 2 * allowance
    return int(changed.sum()), int(unexplained.sum())


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax over the last axis in float64."""
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), np.float64)
