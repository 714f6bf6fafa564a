"""Reaches the verdict on two models, in five parts.

    1  the algebra is right     in float64, at most 1e-10 of the largest output
    2  no precision is lost     at most three times the original's own error, plus rounding; that
                                error is the worst of all inputs, relative to each one's scale: on
                                a single input it may be small by chance; where it was, it is
                                measured on inputs a little off as well
    3  no label changes         unless the two best were closer than rounding can tell
    4  how much it is           largest, 99.9th percentile and mean difference; not judged
    5  on adversarial inputs    1 and 2 for every kind of input by itself, the worst counts

It holds, it fails, or it could not be tested: with nothing compared nothing is proved. An output
for inputs on which the original is not finite, or which rounding decides, says nothing and is
counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.folding.proof.evidence import Evidence, Skipped
from training.folding.proof.own_rounding import Noise
from training.folding.proof.tolerances import label_changes, softmax
from training.folding.proof.verdict import Statistics, Verdict, Worst

NOTHING_COMPARED = (
    "no output could be compared: on every input that was tried the original's outputs are empty, "
    "not finite, or decided by rounding; give inputs of your own with --data"
)
INFINITE = float("inf")


@dataclass
class _Sums:
    """What the statistics are made of."""

    differences: list[NDArray[np.float64]] = field(default_factory=list)
    squares: float = 0.0
    products: float = 0.0
    left: float = 0.0
    right: float = 0.0
    relative: float = 0.0
    probability: float | None = None

    def add(self, one: NDArray[np.float64], other: NDArray[np.float64], scale: float) -> None:
        difference = np.abs(one - other)
        self.differences.append(difference.reshape(-1))
        self.squares += float((difference**2).sum())
        self.products += float((one * other).sum())
        self.left += float((one**2).sum())
        self.right += float((other**2).sum())
        if difference.size and scale:
            self.relative = max(self.relative, float(difference.max()) / scale)
        if one.ndim == 2 and one.shape[1] > 1:
            distance = float(np.abs(softmax(one) - softmax(other)).max(initial=0.0))
            self.probability = max(self.probability or 0.0, distance)

    def statistics(self) -> Statistics:
        every = np.concatenate([np.zeros(0), *self.differences])
        if not every.size:
            return Statistics()
        norm = np.sqrt(self.left * self.right)
        return Statistics(
            largest=float(every.max()),
            percentile_99_9=float(np.quantile(every, 0.999)),
            mean=float(every.mean()),
            largest_relative=self.relative,
            relative_l2=float(np.sqrt(self.squares / self.left)) if self.left else 0.0,
            cosine=self.products / norm if norm else 1.0,
            largest_probability=self.probability,
        )


def judge(
    evidence: Iterable[Evidence],
    notes: tuple[str, ...] = (),
    *,
    exact: bool = True,
    faults: tuple[str, ...] = (),
    nearby: Noise | None = None,
) -> Verdict:
    """Return the verdict.

    `exact` says that the other model was folded in float64, its weights never rounded; `nearby` is
    the original's error on inputs a little off.
    """
    evidence = list(evidence)
    noise, nearby = _noise(evidence), nearby or {}
    judged = labels = changes = unexplained = 0
    skipped = Counter(_skipped(one) for one in evidence)
    algebra, rounding, sums = Worst(), Worst(), _Sums()
    for one in evidence:
        four = one.four
        if _skipped(one):
            continue
        judged += 1
        if one.exact:
            algebra = _worse(algebra, four.algebra_ratio, one)
        near = nearby.get((one.output, one.kind), 0.0)
        known = max(noise.get(one.output, 0.0), near)
        rounding = _worse(rounding, four.ratio_for(known), one)
        if not four.is_finite:
            continue
        folded, unfolded = (v.astype(np.float64) for v in (four.folded, four.unfolded))
        sums.add(folded, unfolded, four.scale)
        if unfolded.ndim == 2 and unfolded.shape[1] > 1:
            changed, strange = label_changes(unfolded, folded, four.allowance_for(near))
            labels, changes = labels + len(unfolded), changes + changed
            unexplained += strange
    return Verdict(
        judged=judged,
        not_finite=skipped["not finite"],
        undecided=skipped["rounding"],
        empty=skipped["empty"],
        algebra=algebra if exact and any(one.exact for one in evidence) else None,
        rounding=rounding,
        labels=labels,
        label_changes=changes,
        unexplained_label_changes=unexplained,
        statistics=sums.statistics(),
        notes=notes,
        faults=faults,
        untested=None if judged or faults else NOTHING_COMPARED,
    )


def imprecise_kinds(evidence: Sequence[Evidence]) -> set[str]:
    """Return the kinds of input on which rule 2 or 3 does not hold."""
    noise = _noise(evidence)
    return {
        one.kind
        for one in evidence
        if not _skipped(one)
        and (
            not one.four.ratio_for(noise.get(one.output, 0.0)) <= 1
            or judge([one]).unexplained_label_changes
        )
    }


def _noise(evidence: Sequence[Evidence]) -> dict[str, float]:
    """Return the original's largest relative error by output."""
    noise: dict[str, float] = {}
    for one in evidence:
        if not _skipped(one) and one.four.scale:
            noise[one.output] = max(noise.get(one.output, 0.0), one.four.noise)
    return noise


def _skipped(evidence: Evidence) -> Skipped | None:
    """Return why there is nothing to compare, None where there is something."""
    four = evidence.four
    finite = np.isfinite(four.truth).all() and np.isfinite(four.unfolded).all()
    return evidence.skipped or (None if finite else "not finite")


def _worse(worst: Worst, ratio: float, evidence: Evidence) -> Worst:
    """Return the larger of both; what is not a number is infinite."""
    ratio = INFINITE if np.isnan(ratio) else ratio
    return Worst(ratio, evidence.output, evidence.kind) if ratio > worst.ratio else worst
