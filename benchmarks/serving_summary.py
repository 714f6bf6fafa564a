"""From cells to medians: what the table shows.

A ratio is taken within each round, where both sides saw the same machine, and its median is shown;
it is not the ratio of the medians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from benchmarks.rig.spread import Spread, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.serving_cells import Cell

REFERENCES = ("ceiling", "naive-1", "naive-2", "litserve", "ours")


class SystemSummary(TypedDict):
    """One system under one load, over all rounds."""

    images_per_s: Spread | None
    p50_ms: Spread | None
    p99_ms: Spread | None
    errors: int
    failures: list[str]
    throughput_ratio: dict[str, Spread | None]
    p50_ratio: dict[str, Spread | None]


@dataclass(frozen=True)
class Summary:
    """`loads` by load and system; `systems` has what does not depend on the load."""

    loads: dict[str, dict[str, SystemSummary]]
    systems: dict[str, dict[str, object]]


def summarize(cells: Sequence[Cell]) -> Summary:
    """Return the spread of every figure."""
    loads = _in_order(cell.load for cell in cells)
    names = _in_order(cell.system for cell in cells)
    return Summary(
        {load: _load_summary([cell for cell in cells if cell.load == load]) for load in loads},
        {name: _system_summary([cell for cell in cells if cell.system == name]) for name in names},
    )


def _load_summary(cells: Sequence[Cell]) -> dict[str, SystemSummary]:
    return {
        name: {
            "images_per_s": spread((c.images_per_s for c in _measured(cells, name)), 1),
            "p50_ms": spread(c.p50_ms for c in _measured(cells, name)),
            "p99_ms": spread(c.p99_ms for c in _measured(cells, name)),
            "errors": sum(sum(c.errors.values()) for c in _measured(cells, name)),
            "failures": [c.failure for c in cells if c.system == name and c.failure],
            "throughput_ratio": _ratios(cells, name, lambda cell: cell.images_per_s),
            "p50_ratio": _ratios(cells, name, lambda cell: cell.p50_ms),
        }
        for name in _in_order(cell.system for cell in cells)
    }


def _system_summary(cells: Sequence[Cell]) -> dict[str, object]:
    """Return cold start, memory of all processes and of the largest one."""
    return {
        "cold_start_s": spread(c.cold_start_s for c in cells if c.cold_start_s is not None),
        "processes": spread((len(c.memory_mib) for c in cells if c.memory_mib), 0),
        "memory_mib_total": spread((sum(c.memory_mib) for c in cells if c.memory_mib), 1),
        "memory_mib_largest": spread((c.memory_mib[0] for c in cells if c.memory_mib), 1),
    }


def _ratios(
    cells: Sequence[Cell], name: str, figure: Callable[[Cell], float]
) -> dict[str, Spread | None]:
    """Return the ratios to each other system of the same round."""
    own = {cell.round: figure(cell) for cell in _measured(cells, name)}
    ratios = {}
    for reference in REFERENCES:
        other = {cell.round: figure(cell) for cell in _measured(cells, reference)}
        if reference != name and other:
            ratios[reference] = spread(
                own[round_] / other[round_] for round_ in own if other.get(round_)
            )
    return ratios


def _measured(cells: Sequence[Cell], name: str) -> list[Cell]:
    return [cell for cell in cells if cell.system == name and cell.failure is None]


def _in_order(names: object) -> list[str]:
    return list(dict.fromkeys(names))  # type: ignore[call-overload]
