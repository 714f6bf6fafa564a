"""What a server says of one image, and whether two answers are the same.

Batch-mates change the last bits of an image's logits and nothing else, so answers are compared by
the logarithms of their probabilities, which are logits up to a constant. The server's start-up
proof bounds that noise by about 1e-4 of the largest logit: some thousandths. `TOLERANCE` is ten
times that, and far less than what lies between two images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOLERANCE = 0.02  # in the natural logarithm of a probability: 2 %
SMALLEST = 1e-30  # below it float32 holds too few digits to compare


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one image with their log probabilities, best first."""

    top: tuple[tuple[int, float], ...]

    @property
    def lowest(self) -> float:
        """The log probability of the last class listed: no class left out has more."""
        return self.top[-1][1]

    def agrees(self, other: Answer) -> bool:
        """Return whether both can be answers to one image.

        A class that only one of them lists may be a near tie for the last place.
        """
        return len(self.top) == len(other.top) and self._fits(other) and other._fits(self)

    def _fits(self, other: Answer) -> bool:
        listed = dict(other.top)
        return all(
            abs(value - listed[index]) <= TOLERANCE
            if index in listed
            else value <= other.lowest + TOLERANCE
            for index, value in self.top
        )


def answer_of(probabilities: Iterable[tuple[int, float]]) -> Answer:
    """Return the answer with these classes.

    Raises:
        ValueError: there is no class, or a probability is not a number.
    """
    logs = [(int(index), math.log(max(value, SMALLEST))) for index, value in probabilities]
    if not logs or any(math.isnan(value) for _, value in logs):
        raise ValueError("an answer has at least one class, and probabilities that are numbers")
    return Answer(tuple(sorted(logs, key=lambda entry: -entry[1])))


def count_look_alikes(answers: Sequence[Answer]) -> int:
    """Return how many answers agree with another one's: a swap among those cannot be seen."""
    # Answers that agree have last places that do, so only neighbours have to be compared.
    order = sorted(range(len(answers)), key=lambda index: answers[index].lowest)
    alike = set()
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            if answers[second].lowest - answers[first].lowest > TOLERANCE:
                break
            if answers[first].agrees(answers[second]):
                alike |= {first, second}
    return len(alike)
