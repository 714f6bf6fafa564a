"""The figures of the studies: each answers its study's question in its title, from rows alone.

A design names those it wants. One for which there are no data yet is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from training.errors import StudyError
from training.studies.reports.analysis import Analysis
from training.studies.reports.figures.attribution import attribution
from training.studies.reports.figures.batches import gaps, statistics
from training.studies.reports.figures.cells import cells, forest, rates, slopes
from training.studies.reports.figures.curves import crossings, learning_curves
from training.studies.reports.figures.inside import landscape, percentiles
from training.studies.reports.figures.style import save

__all__ = ["FIGURES", "draw", "save"]

FIGURES: Mapping[str, Callable[[Analysis], Figure | None]] = {
    "attribution": attribution,
    "cells": cells,
    "crossings": crossings,
    "forest": forest,
    "gaps": gaps,
    "landscape": landscape,
    "learning-curves": learning_curves,
    "percentiles": percentiles,
    "rates": rates,
    "slopes": slopes,
    "statistics": statistics,
}


def draw(analysis: Analysis) -> dict[str, Figure]:
    """Return the figures that the study's design names, those without data left out.

    Raises:
        StudyError: there is no figure of such a name.
    """
    unknown = [name for name in analysis.study.figures if name not in FIGURES]
    if unknown:
        raise StudyError(
            f"study {analysis.study.name!r} names the figure {unknown[0]!r}; "
            f"there are {', '.join(FIGURES)}"
        )
    if not analysis.cells:
        return {}
    drawn = {name: FIGURES[name](analysis) for name in analysis.study.figures}
    return {name: figure for name, figure in drawn.items() if figure is not None}
