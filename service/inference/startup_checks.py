"""What a model must show before it is served, and again whenever readiness is asked for.

    graph           no BatchNormalization in training mode
    golden          the golden images get the logits that the network had in float64, and of an
                    int8 graph those that it had itself when it was quantized
    independence    an image gets the same logits alone and in a batch with adversarial inputs

Tolerances are fractions of scale = max |golden logits|, with u = 2^-24 the unit roundoff of
float32. A sum of K products carries a random-walk error of about sqrt(K) u, and layers in a row
about sqrt(S) u, where S adds up the K of every layer between input and logits. A factor of 4 covers
what a network amplifies on the way. For networks of up to S = 65,536, more than twice that of
the largest recipe (air96 has 23,780; a golden test counts them), that is

    golden          4 sqrt(65,536) u = 6.1e-5 of scale

The manifest of a packed network states its own S, and a larger one takes the place of 65,536. A
network that sums more and does not say so may be refused although it is sound; it is never let
through wrongly.

The error of the golden logits is then itself the measurement of this machine's float noise. Two
runs of one image differ by at most twice that; 16 u of scale is the floor where it is zero:

    independence    4 * measured error + 16 u * scale

An int8 graph is a chain of integer sums and roundings to 256 steps. Its weights have 7 bits, so
that no integer kernel saturates and all of them give the same sums: where they run, its golden
logits come back to the bit, whichever vector instructions the CPU has. A machine without such
kernels, or an optimization level that does not use them, emulates the same roundings in float32.
There a sum within its own rounding error of a boundary falls to the other side, in one image of
fifteen; that step enters hundreds of sums and may flip some of them in turn. How far it reaches is
no constant of arithmetic but one of the network, so the artifact states it, as the largest
difference between the two ways to run the graph over all 10,000 test images:

    golden of int8          the difference that the artifact states, at most 0.1 of scale
    independence of int8    that of float32, and the same difference added

Of ten golden images one exceeds the largest of 10,000 with odds of one in a thousand. Another
network's weights, a dropped bias or a dead channel are far beyond it and are refused; damage below
it is the business of the file's hash, which is checked before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Golden
from service.errors import ModelRefusedError
from service.inference.onnx_scan import WireError, training_batch_norms
from service.inference.session import Session

UNIT_ROUNDOFF = 2.0**-24
MAX_SUMMED_PRODUCTS = 65_536
MAX_STATED_TOLERANCE = 0.1  # of scale; beyond it the golden logits would prove nothing
NOISE_FACTOR = 4
NOISE_FLOOR = 16 * UNIT_ROUNDOFF
INDEPENDENCE_IMAGES = 4


@dataclass(frozen=True)
class StartupProof:
    """What was measured at start-up; errors are largest absolute logit differences."""

    golden_images: int
    scale: float
    golden_error: float
    golden_tolerance: float
    neighbour_difference: float
    neighbour_tolerance: float


def prove_answers(session: Session, golden: Golden) -> StartupProof:
    """Return the measurements of a model whose answers are right.

    Raises:
        ModelRefusedError: it does not; the message says in what.
    """
    scale = float(np.abs(golden.logits).max())
    error = check_golden(session, golden)
    tolerance = NOISE_FACTOR * error + NOISE_FLOOR * scale + (golden.tolerance or 0.0)
    return StartupProof(
        golden_images=len(golden.images),
        scale=scale,
        golden_error=error,
        golden_tolerance=golden_tolerance(golden),
        neighbour_difference=check_independence(session, golden, tolerance),
        neighbour_tolerance=tolerance,
    )


def check_graph(graph: bytes) -> None:
    """Refuse a graph whose answer to an image would depend on its batch."""
    try:
        names = training_batch_norms(graph)
    except WireError as exc:
        raise ModelRefusedError(f"the graph is no ONNX file: {exc}") from exc
    if names:
        raise ModelRefusedError(
            f"BatchNormalization {names[0]!r} is in training mode and would normalize by its "
            "batch; export the network after eval()"
        )


def check_golden(session: Session, golden: Golden) -> float:
    """Return the largest logit error on the golden images, each of them run alone too."""
    together = session.run(golden.images).logits
    alone = _run_alone(session, golden.images[:INDEPENDENCE_IMAGES])
    if together.shape != golden.logits.shape:
        raise ModelRefusedError(
            f"the graph gives logits {together.shape} where the golden ones are "
            f"{golden.logits.shape}; export the artifact again"
        )
    error = max(
        largest_difference(together, golden.logits),
        largest_difference(alone, golden.logits[: len(alone)]),
    )
    limit = golden_tolerance(golden)
    if not error <= limit:  # not a number is no proof either
        cause = "rounding" if golden.tolerance is None else "the noise of quantization"
        raise ModelRefusedError(
            f"golden logits are off by {error:.3g}, at most {limit:.3g} is {cause}; the graph or "
            "the machine computes something else than the network that was released"
        )
    return error


def golden_tolerance(golden: Golden) -> float:
    """Return how far, in logits, an answer may be off: what the artifact states, or rounding.

    Raises:
        ModelRefusedError: what the artifact states would let a wrong network pass.
    """
    scale = float(np.abs(golden.logits).max())
    if golden.tolerance is None:
        products = max(MAX_SUMMED_PRODUCTS, golden.summed_products or 0)
        share = min(4 * math.sqrt(products) * UNIT_ROUNDOFF, MAX_STATED_TOLERANCE)
        return share * scale
    if not golden.tolerance <= MAX_STATED_TOLERANCE * scale:
        raise ModelRefusedError(
            f"the artifact allows its golden logits to be off by {golden.tolerance:.3g}; at most "
            f"{MAX_STATED_TOLERANCE * scale:.3g} proves anything, quantize the network again"
        )
    return golden.tolerance


def check_independence(session: Session, golden: Golden, tolerance: float) -> float:
    """Return the largest difference between an image alone and in an adversarial batch."""
    images = golden.images[:INDEPENDENCE_IMAGES]
    alone = _run_alone(session, images)
    batch = np.concatenate([images, _adversarial_images(images.shape[1:])])
    difference = largest_difference(alone, session.run(batch).logits[: len(images)])
    if not difference <= tolerance:
        raise ModelRefusedError(
            f"an image's logits change by {difference:.3g} with its neighbours in the batch, at "
            f"most {tolerance:.3g} is rounding; batch norm must be in inference mode"
        )
    return difference


def largest_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the largest absolute difference; not a number where either has one."""
    return float(np.abs(first.astype(np.float64) - second).max())


def _run_alone(session: Session, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([session.run(image[None]).logits for image in images])


def _adversarial_images(image_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return images (4, H, W, C) that would move the statistics of a batch far away."""
    images = np.zeros((4, *image_shape), np.uint8)
    images[1] = 255
    images[2, ::2, ::2] = 255
    images[3, :, :, 0] = 255
    return images
