"""The classification extension: the best labels of an image instead of its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from service.session import Scores


def best_labels(
    scores: Scores, values: NDArray[np.float32], labels: Sequence[str], classes: int
) -> list[list[str]]:
    """Return N lists of the best `classes` as "value:index:label", best first.

    `values` (N, C) are one of the scores' two tables. The order is that of the logits for both:
    in float32 two of them may round to one probability. There are never more than the labels.
    """
    order = np.argsort(-scores.logits, axis=1, kind="stable")[:, :classes]
    best = np.take_along_axis(values, order, axis=1)
    return [
        [f"{value:f}:{index}:{labels[index]}" for value, index in zip(*row, strict=True)]
        for row in zip(best.tolist(), order.tolist(), strict=True)
    ]
