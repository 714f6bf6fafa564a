"""The same contrast by ordinary least squares, to be read beside Welch's.

    y = seed + factor_1 * factor_2 * ...        blocks of seeds, sum coding, all interactions

In a balanced design the value is that of `contrasts.contrast`; the interval is another, for this
one takes the seeds out and assumes one spread for all cells. Where a few cells spread much wider
than the rest it covers less than 95 %: it is a check, not the figure to print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.studies.statistics.cells import Cell, cell_of
from training.studies.statistics.contrasts import weighed_cells
from training.studies.statistics.intervals import Estimate, interval, without_interval


@dataclass(frozen=True)
class Row:
    """One run: {factor: level}, the seed, and what was measured."""

    levels: Mapping[str, str]
    seed: int
    y: float


def least_squares_check(rows: Sequence[Row], weights: Mapping[Cell, float]) -> Estimate:
    """Return the contrast as statsmodels' least squares has it; no interval without residuals.

    Args:
        rows: Every run of the study; all name the same factors.
        weights: As for `contrasts.contrast`, keyed by `cells.cell_of`.

    Raises:
        ValueError: the factors differ or none varies, the weights do not add up to 0, or a cell
            with a weight has no run.
    """
    import pandas as pd
    from statsmodels.formula.api import ols

    weighed = weighed_cells(weights)
    varying = _varying_factors(rows)
    table = pd.DataFrame(
        {f"f{i}": [row.levels[factor] for row in rows] for i, factor in enumerate(varying)}
        | {"seed": [row.seed for row in rows], "y": [row.y for row in rows]}
    )
    coded = " * ".join(f"C(f{i}, Sum)" for i in range(len(varying)))
    blocks = "C(seed) + " if table["seed"].nunique() > 1 else ""
    fit = ols(f"y ~ {blocks}{coded}", table).fit()
    places = {cell_of(row.levels): place for place, row in enumerate(rows)}
    absent = [cell for cell in weighed if cell not in places]
    if absent:
        raise ValueError(f"the contrast needs {absent[0]!r}, which has no runs")
    direction = np.zeros(fit.model.exog.shape[1])
    for cell, weight in weighed.items():
        direction += weight * fit.model.exog[places[cell]]
    direction[[name.startswith("C(seed)") for name in fit.model.exog_names]] = 0
    value = float(direction @ fit.params)
    if fit.df_resid < 1:
        return without_interval(value, len(rows))
    error = float(np.sqrt(direction @ fit.cov_params() @ direction))
    return interval(value, error, float(fit.df_resid), len(rows))


def _varying_factors(rows: Sequence[Row]) -> list[str]:
    """Return the factors with more than one level among the rows."""
    names = {tuple(sorted(row.levels)) for row in rows}
    if len(names) != 1:
        raise ValueError(f"all rows name the same factors, and these name {sorted(names)}")
    varying = [
        factor for factor in next(iter(names)) if len({row.levels[factor] for row in rows}) > 1
    ]
    if not varying:
        raise ValueError("no factor has two levels, so there is nothing to contrast")
    return varying
