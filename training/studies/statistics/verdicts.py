"""What an interval says of a prediction, given the smallest effect that would matter.

    wholly beyond +smallest or below -smallest    supported or contradicted, by the predicted sign
    wholly between them                           practically equal
    anything else                                 undecided, which is a result

The interval alone decides. The p of the two one-sided tests stands beside it: at 5 % these answer
for a 90 % interval, so they call arms equivalent a little earlier than the verdict does.

Reference:
    Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15. Lakens 2017, Social
    Psychological and Personality Science 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import numpy as np

from training.studies.statistics.contrasts import paired
from training.studies.statistics.intervals import Estimate, moments_of

Prediction = Literal["+", "-", "=", ">="]  # >= is not worse by more than the smallest effect


class Verdict(StrEnum):
    """What a study says of a prediction that it announced."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    PRACTICALLY_EQUAL = "practically equal"
    UNDECIDED = "undecided"


class Standing(StrEnum):
    """What the page of claims says of a published one."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    PRACTICALLY_EQUAL = "practically equal"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


STANDINGS = {
    None: Standing.NOT_MEASURED,
    Verdict.SUPPORTED: Standing.REPRODUCED,
    Verdict.CONTRADICTED: Standing.NOT_REPRODUCED,
    Verdict.PRACTICALLY_EQUAL: Standing.PRACTICALLY_EQUAL,
    Verdict.UNDECIDED: Standing.UNDECIDED,
}


def verdict(estimate: Estimate, smallest: float, predicted: Prediction) -> Verdict:
    """Return what the interval says of the predicted sign; `=` predicts no effect that matters.

    A bound that touches `smallest` leaves it undecided, and so does an estimate without an interval
    or one whose runs have no spread at all, as where none trained.

    Raises:
        ValueError: `smallest` is not above 0.
    """
    _require_positive(smallest)
    if estimate.p is None:
        return Verdict.UNDECIDED
    if predicted == ">=" and estimate.low > -smallest:
        return Verdict.SUPPORTED
    if -smallest < estimate.low and estimate.high < smallest:
        return Verdict.PRACTICALLY_EQUAL
    if estimate.low > smallest:
        return Verdict.SUPPORTED if predicted == "+" else Verdict.CONTRADICTED
    if estimate.high < -smallest:
        return Verdict.SUPPORTED if predicted == "-" else Verdict.CONTRADICTED
    return Verdict.UNDECIDED


def standing(conclusion: Verdict | None) -> Standing:
    """Return the word for the page of claims; None for a claim that no study has asked about."""
    return STANDINGS[conclusion]


def equivalence_p(a: Sequence[float], b: Sequence[float], smallest: float) -> float | None:
    """Return the larger p of the two one-sided Welch tests of |mean of a - b| >= smallest.

    None where an arm has a single run or neither has any spread.

    Raises:
        ValueError: `smallest` is not above 0, an arm is empty, or a value is not finite.
    """
    from statsmodels.stats.weightstats import ttost_ind

    _require_positive(smallest)
    variances = [moments_of(arm).variance for arm in (a, b)]
    if None in variances or not any(variances):
        return None
    return float(ttost_ind(np.array(a), np.array(b), -smallest, smallest, usevar="unequal")[0])


def paired_equivalence_p(a: Sequence[float], b: Sequence[float], smallest: float) -> float | None:
    """Return the larger p of the two one-sided paired tests; None where `paired` has no p.

    Raises:
        ValueError: as for `equivalence_p`, or the arms differ in length.
    """
    from statsmodels.stats.weightstats import ttost_paired

    _require_positive(smallest)
    if paired(a, b).p is None:
        return None
    return float(ttost_paired(np.array(a), np.array(b), -smallest, smallest)[0])


def _require_positive(smallest: float) -> None:
    if not smallest > 0:
        raise ValueError(f"the smallest effect of interest is {smallest}; it must be above 0")
