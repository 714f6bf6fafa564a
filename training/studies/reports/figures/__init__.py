"""The figures of the studies: each answers its study's question in its title, from rows alone.

A design names those it wants. One for which there are no data yet is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.figure import Figure

from training.studies.reports.analysis import Analysis
from training.studies.reports.figures.attribution import attribution
from training.studies.reports.figures.batches import gaps, statistics
from training.studies.reports.figures.cells import cells, forest, rates, slopes
from training.studies.reports.figures.curves import crossings, learning_curves
from training.studies.reports.figures.inside import landscape, percentiles
from training.studies.reports.figures.style import save

__all__ = ["DRAWN", "draw", "save"]

DRAWN: Mapping[str, Callable[[Analysis], Figure | None]] = {
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
    """Return the figures that the study's design names, those without data left out."""
    if not analysis.cells:
        return {}
    drawn = {name: DRAWN[name](analysis) for name in analysis.study.figures}
    return {name: figure for name, figure in drawn.items() if figure is not None}
