"""When requests arrive in an open loop: times that no answer can move."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal, get_args

from training.client.errors import RequestError

Arrivals = Literal["poisson", "constant"]


def arrival_times(kind: Arrivals, rate: float, seed: int) -> Iterator[float]:
    """Yield the times in seconds from the start, endless, `rate` of them a second on average.

    Poisson arrivals are what many independent callers make: exponential gaps, so that several come
    at once now and then.

    Raises:
        RequestError: the rate is not above 0, or no such kind.
    """
    if not 0 < rate < float("inf"):
        raise RequestError(f"a rate of {rate:g} requests/s cannot be sent; give one above 0")
    if kind == "constant":
        return (number / rate for number in itertools.count())
    if kind == "poisson":
        chance = random.Random(seed)  # noqa: S311 - a load, not a secret
        return itertools.accumulate(chance.expovariate(rate) for _ in itertools.count())
    raise RequestError(f"no arrivals {kind!r}; take one of {', '.join(get_args(Arrivals))}")
