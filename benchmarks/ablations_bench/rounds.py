"""Two trees in turn, round by round, and what lies between them."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.rig.spread import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.ablations_bench.trees import Tree

Values = dict[str, float | None]


def take_turns(
    measure: Callable[[Tree], Values], trees: Sequence[Tree], rounds: int, lock: Path | None
) -> list[list[Values]]:
    """Return what was measured of each tree in each round; who begins changes every round."""
    found: list[list[Values]] = [[] for _ in trees]
    for turn in range(rounds):
        order = list(range(len(trees)))
        with held(lock):
            for index in order[turn % len(trees) :] + order[: turn % len(trees)]:
                started = time.perf_counter()
                found[index].append(measure(trees[index]))
                took_s = time.perf_counter() - started
                sys.stderr.write(
                    f"round {turn + 1} tree {index} {found[index][-1]} {took_s:.0f} s\n"
                )
    return found


def compare(ours: Sequence[Values], rival: Sequence[Values]) -> dict[str, object]:
    """Return the spread of every figure on both sides, and of the rounds' ratios rival / ours."""
    return {
        name: {
            "ours": spread(_known(ours, name)),
            "rival": spread(_known(rival, name)),
            "ratio": spread(
                their / our
                for mine, other in zip(ours, rival, strict=True)
                if (our := mine[name]) and (their := other[name]) is not None
            ),
        }
        for name in ours[0]
    }


@contextmanager
def held(lock: Path | None) -> Iterator[None]:
    """Keep other jobs of a shared machine, which hold the same file, waiting meanwhile."""
    if lock is None:
        yield
        return
    file = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _known(values: Sequence[Values], name: str) -> list[float]:
    return [value for one in values if (value := one[name]) is not None]
