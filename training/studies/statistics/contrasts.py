"""Contrasts of cell means with Welch and Satterthwaite's degrees of freedom.

    estimate           = sum_c w_c m_c
    v_c                = w_c^2 s_c^2 / n_c
    V                  = sum_c v_c                          squared standard error
    degrees of freedom = V^2 / sum_c (v_c^2 / (n_c - 1))

m_c, s_c^2 and n_c are mean, variance and number of the runs of cell c. Cells need not have equal
spread, which a pooled least squares would assume. Runs of different cells count as independent;
where they share seeds and correlate, the interval is a little too wide.

A cell with one run has no variance: the contrast then has a value and no interval. A cell whose
runs are all equal adds nothing to V and leaves the degrees of freedom to the others; where every
cell is such, the width is 0 and p is None.

Reference:
    Welch 1938, Biometrika 29. Satterthwaite 1946, Biometrics Bulletin 2. Holm 1979, Scandinavian
    Journal of Statistics 6.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from training.studies.statistics.intervals import (
    Estimate,
    interval,
    interval_of_mean,
    moments_of,
    without_interval,
)

C = TypeVar("C", bound=Hashable)

BALANCE = 1e-9  # how far from 0 rounding may take a sum of weights


def contrast(cells: Mapping[C, Sequence[float]], weights: Mapping[C, float]) -> Estimate:
    """Return the weighted sum of cell means; `n` counts the runs of the cells that have a weight.

    Args:
        cells: The values of each cell's runs. Cells without a weight are not looked at.
        weights: They add up to 0; a weight of 0 is as none.

    Raises:
        ValueError: the weights do not add up to 0 or are all 0, a cell has no runs, or a value is
            not finite.
    """
    weighed = weighed_cells(weights)
    absent = [cell for cell in weighed if not cells.get(cell)]
    if absent:
        raise ValueError(f"the contrast needs {absent[0]!r}, which has no runs")
    moments = [moments_of(cells[cell]) for cell in weighed]
    value = math.fsum(w * m.mean for w, m in zip(weighed.values(), moments, strict=True))
    n = sum(m.n for m in moments)
    shares = [
        w**2 * m.variance / m.n
        for w, m in zip(weighed.values(), moments, strict=True)
        if m.variance is not None
    ]
    if len(shares) < len(moments):
        return without_interval(value, n)
    variance = math.fsum(shares)
    if variance == 0:
        return interval(value, 0.0, n - len(moments), n)
    spread = math.fsum(
        (share / variance) ** 2 / (m.n - 1) for share, m in zip(shares, moments, strict=True)
    )
    return interval(value, math.sqrt(variance), 1 / spread, n)


def weighed_cells(weights: Mapping[C, float]) -> dict[C, float]:
    """Return the weights that are not 0.

    Raises:
        ValueError: they do not add up to 0, or there are none.
    """
    total = math.fsum(weights.values())
    if abs(total) > BALANCE:
        raise ValueError(f"the weights of a contrast add up to 0, and these to {total:.6g}")
    weighed = {cell: weight for cell, weight in weights.items() if weight}
    if not weighed:
        raise ValueError("all weights are 0, so there is nothing to contrast")
    return weighed


def paired(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return the mean of a - b over the seeds that both share, with the paired t interval.

    It stands beside `contrast`. With five pairs or fewer it is the wider one, unless a seed moves
    both arms alike; differences that are all equal have no width and no p.

    Raises:
        ValueError: the arms differ in length, there is no pair, or a value is not finite.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} runs cannot be paired with {len(b)}; give both per seed")
    differences = [one - other for one, other in zip(a, b, strict=True)]
    largest = max((abs(value) for value in (*a, *b)), default=0.0)
    return interval_of_mean(moments_of(differences, largest))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's p values of one family, in the same order.

    A contrast without a p still belongs to the family that was announced: it counts as 1 there, and
    its own stays None.
    """
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    known = [1.0 if p is None else p for p in p_values]
    corrected = multipletests(known, method="holm")[1]
    return [
        None if p is None else float(adjusted)
        for p, adjusted in zip(p_values, corrected, strict=True)
    ]
