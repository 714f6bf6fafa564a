"""Differences between networks that answered the same images, and what they hold for.

d[r, i] = right_b - right_a in {-1, 0, 1} for seed r of R and image i of N: seeds and images are
crossed, both drawn at random.

    v_seed  = var(row means) / R
    v_image = var(column means) / N
    v_rest  = residual mean square / (R N)

    new trainings, these images    variance of the mean difference  v_seed
    new trainings, new images                                       v_seed + v_image - v_rest

More seeds shrink the first and not the second: the images are what they are.

Reference:
    Searle, Casella and McCulloch 1992, Variance Components, chapter 4 (balanced data).
    McNemar 1947, Psychometrika 12. Jordan 2023, arXiv:2304.01910, on instability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageDifference:
    """Accuracy of b minus that of a, a share of 1, with its two standard errors."""

    value: float
    v_seed: float
    v_image: float
    v_rest: float
    seeds: int
    images: int

    @property
    def error_on_these_images(self) -> float:
        """Standard error for new trainings, measured on the same images."""
        return math.sqrt(self.v_seed)

    @property
    def error_on_new_images(self) -> float:
        """Standard error for new trainings on new images; 0 where chance makes it negative."""
        return math.sqrt(max(0.0, self.v_seed + self.v_image - self.v_rest))


@dataclass(frozen=True)
class PairTest:
    """Two networks on the same images; it answers for these two and no other training."""

    only_a: int  # images that a alone has right
    only_b: int
    p: float  # exact, two-sided


@dataclass(frozen=True)
class SeedVariance:
    """Variance of the accuracy over seeds, and its part that is no accident of these images."""

    total: float  # of the accuracy on these images
    by_images: float  # what answers that are independent from image to image would give
    instability: float  # of the accuracy on endlessly many images; chance may make it negative


def image_difference(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> ImageDifference:
    """Return the mean difference b - a of two arms with its components of variance.

    Args:
        right_a: (R, N), whether seed r had image i right.
        right_b: (R, N), the same seeds and images.

    Raises:
        ValueError: the shapes differ, or there are fewer than two seeds or images.
    """
    if right_a.shape != right_b.shape:
        raise ValueError(f"the arms are {right_a.shape} and {right_b.shape}; give the same shape")
    _require_crossed(right_a)
    d = right_b.astype(np.float64) - right_a  # (R, N)
    seeds, images = d.shape
    rows, columns, mean = d.mean(axis=1), d.mean(axis=0), d.mean()
    residual = d - rows[:, None] - columns + mean
    rest = (residual**2).sum() / ((seeds - 1) * (images - 1))
    return ImageDifference(
        value=float(mean),
        v_seed=float(rows.var(ddof=1)) / seeds,
        v_image=float(columns.var(ddof=1)) / images,
        v_rest=float(rest) / (seeds * images),
        seeds=seeds,
        images=images,
    )


def pair_test(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> PairTest:
    """Return McNemar's exact test of one network against another, both (N,).

    Raises:
        ValueError: the shapes differ, or are not (N,).
    """
    from statsmodels.stats.contingency_tables import mcnemar

    if right_a.shape != right_b.shape or right_a.ndim != 1:
        raise ValueError(f"the answers are {right_a.shape} and {right_b.shape}; give two of (N,)")
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    p = float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)
    return PairTest(only_a, only_b, p)


def seed_variance(right: NDArray[np.bool_]) -> SeedVariance:
    """Split the variance of the accuracy over seeds.

    by_images   = R / (R - 1) * sum_i p_i (1 - p_i) / N^2    p_i: share of runs right on image i
    instability = N / (N - 1) * (total - by_images)

    Args:
        right: (R, N), whether seed r had image i right.

    Raises:
        ValueError: there are fewer than two seeds or images.
    """
    _require_crossed(right)
    seeds, images = right.shape
    share = right.mean(axis=0)  # (N,)
    total = float(right.mean(axis=1).var(ddof=1))
    by_images = float((share * (1 - share)).sum()) / images**2 * seeds / (seeds - 1)
    return SeedVariance(total, by_images, images / (images - 1) * (total - by_images))


def _require_crossed(right: NDArray[np.bool_]) -> None:
    if right.ndim != 2 or min(right.shape) < 2:
        raise ValueError(f"the answers are {right.shape}; give (R, N) with at least two of each")
