"""A hundred different images at once: does everybody get the answer to their own?

An image's answer may move by float rounding when it shares a batch, so answers are compared within
a tolerance: as logarithms of the probabilities, which move like logits (by about 1e-5) and differ
between images also where both are classified with certainty. That the tolerance tells images apart
is part of the result: the two most similar answers differ by far more.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rig.exchange import run_clients
from benchmarks.serving_peers.cifar10 import LABELS
from benchmarks.trials.bench import requests, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.rig.exchange import Exchange

CLIENTS = 64
ROUNDS_PER_SECOND = 5  # a round asks for every image once
TOLERANCE = 1e-3
SMALLEST_PROBABILITY = 1e-30
IMAGES = 100


def mixed_trial(arguments: Sequence[str], seconds: float) -> dict[str, object]:
    """Compare the answers under load with those that each image got alone."""
    rounds = max(2, round(seconds * ROUNDS_PER_SECOND))
    with served(arguments) as server:
        alone = asyncio.run(_ask(server.port, 1, 1))
        together = asyncio.run(_ask(server.port, rounds, CLIENTS))
    expected = {exchange.key: _log_probabilities(exchange) for exchange in alone}
    answered = [exchange for exchange in together if exchange.good]
    errors = [
        float(np.abs(_log_probabilities(exchange) - expected[exchange.key]).max())
        for exchange in answered
    ]
    return {
        "clients": CLIENTS,
        "images": len(expected),
        "requests": len(together),
        "failed": len(together) - len(answered),
        "answers_of_another_image": sum(error > TOLERANCE for error in errors),
        "tolerance": TOLERANCE,
        "largest_difference": max(errors, default=None),
        "smallest_difference_between_two_images": _nearest(list(expected.values())),
    }


async def _ask(port: int, rounds: int, clients: int) -> list[Exchange]:
    """Ask for every image `rounds` times, in an order of its own each time."""
    known = list(itertools.islice(requests(), IMAGES))
    generator = np.random.default_rng(0)
    order = (known[at] for _ in range(rounds) for at in generator.permutation(len(known)))
    return await run_clients(port, order, clients, lambda: False)


def _log_probabilities(exchange: Exchange) -> NDArray[np.float64]:
    """Return the logarithms of an answer's probabilities, in the order of the labels, (10,)."""
    (prediction,) = json.loads(exchange.content)["predictions"]
    by_label = {entry["label"]: entry["probability"] for entry in prediction["top"]}
    return np.log([max(by_label[label], SMALLEST_PROBABILITY) for label in LABELS])


def _nearest(answers: list[NDArray[np.float64]]) -> float:
    return min(float(np.abs(a - b).max()) for a, b in itertools.combinations(answers, 2))
