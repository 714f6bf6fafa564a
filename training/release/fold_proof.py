"""The verdict on a fold as the manifest states it: on images, and on adversarial ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.manifest import FoldedLayer, FoldProof
from training.folding.engine.report_row import Row
from training.folding.proof.tolerances import (
    FourLogits,
    label_changes,
    largest_difference,
    softmax,
)


def prove(test: FourLogits, adversarial: FourLogits) -> FoldProof:
    """Return the verdict on the test images and on adversarial inputs."""
    changes, unexplained = label_changes(test.unfolded, test.folded, test.allowance)
    difference = np.abs(test.folded.astype(np.float64) - test.unfolded)
    return FoldProof(
        images=len(test.truth),
        scale=test.scale,
        algebra_error_float64=largest_difference(test.algebra, test.truth),
        unfolded_error_float32=largest_difference(test.unfolded, test.truth),
        folded_error_float32=largest_difference(test.folded, test.truth),
        largest_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        relative_l2_difference=float(np.linalg.norm(difference) / np.linalg.norm(test.unfolded)),
        largest_probability_difference=float(
            np.abs(softmax(test.folded) - softmax(test.unfolded)).max()
        ),
        adversarial_error_ratio=adversarial.error_ratio(),
        label_changes=changes,
        unexplained_label_changes=unexplained,
        holds=max(test.error_ratio(), adversarial.error_ratio()) <= 1 and unexplained == 0,
    )


def folded_layers(rows: Iterable[Row], *, constants: bool = False) -> tuple[FoldedLayer, ...]:
    """Return what became of each batch norm, and perhaps of constants, which may spell one out."""
    return tuple(
        FoldedLayer(
            norm=row.name,
            channels=row.norm.channels,
            into=", ".join(row.into) or None,
            reason=row.reason,
            largest_scale=row.largest_scale,
        )
        for row in rows
        if row.is_norm or constants
    )
