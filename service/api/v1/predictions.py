"""From scores to answers: the best labels of one model, and how far several models differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.v1.schemas import ImageComparison, Prediction
from service.inference.session import Scores


def prediction_rows(scores: Scores, labels: Sequence[str], top_k: int) -> list[dict[str, Any]]:
    """Return for each image the `top_k` best labels, best first, as the answer's JSON has them.

    The order is that of the logits: in float32 two of them may round to one probability. Plain
    dictionaries: `schemas.Prediction` documents them, and a test holds the two together.
    """
    rows = []
    for logits, chances in zip(scores.logits.tolist(), scores.probabilities.tolist(), strict=True):
        # Ten numbers are sorted before numpy has looked at its arguments. Equal ones keep their
        # order, reversed or not.
        order = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)[:top_k]
        top = [{"index": i, "label": labels[i], "probability": chances[i]} for i in order]
        rows.append({**top[0], "top": top})
    return rows


def predictions(scores: Scores, labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Return the same as records."""
    return [Prediction.model_validate(row) for row in prediction_rows(scores, labels, top_k)]


def comparisons(all_scores: Sequence[Scores], *, alike: bool) -> list[ImageComparison]:
    """Return for each image how far the models' answers to it differ.

    `alike` says whether they know the same classes: otherwise nothing can be said.
    """
    if not alike:
        nothing = ImageComparison(agree=None, js_divergence=None, max_logit_difference=None)
        return [nothing] * len(all_scores[0].logits)
    logits = np.stack([scores.logits for scores in all_scores])  # (models, N, classes)
    probabilities = np.stack([scores.probabilities for scores in all_scores])
    winners = logits.argmax(axis=2)
    agree = (winners == winners[0]).all(axis=0)
    spread = (logits.max(axis=0) - logits.min(axis=0)).max(axis=1)
    divergence = js_divergence(probabilities)
    return [
        ImageComparison(agree=a, js_divergence=d, max_logit_difference=s)
        for a, d, s in zip(agree.tolist(), divergence.tolist(), spread.tolist(), strict=True)
    ]


def js_divergence(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence in bits, (N,), of distributions (models, N, classes).

    Zero where all models say the same; at most log2(models), which is 1 for two.

    Reference:
        Lin 1991, doi:10.1109/18.61115, equation 5.1 with equal weights.
    """
    p = probabilities.astype(np.float64)
    mean = p.mean(axis=0)
    # An entropy term is 0 at probability 0: its limit, and its logarithm is never taken.
    ratio = np.divide(p, mean, out=np.ones_like(p), where=p > 0)
    divergence: NDArray[np.float64] = (p * np.log2(ratio)).sum(axis=2).mean(axis=0)
    return np.maximum(divergence, 0.0)  # rounding may leave it a hair below
