"""The results as the tables of docs/training.md, between its markers."""

from __future__ import annotations

from typing import Any

from benchmarks.rig.pages import markdown_table, with_blocks
from benchmarks.rig.spread import spread
from benchmarks.training_bench.systems import SYSTEMS

EPOCH_IMAGES = 50_000
TUTORIALS = {system.name for system in SYSTEMS if system.loop == "tutorial"}


def with_tables(page: str, results: dict[str, Any]) -> str:
    """Return the page with the tables that these results give."""
    return with_blocks(
        page,
        {
            "speed": speed_table(results["speed"]),
            "way": way_table(results["ways"]),
            "machine": _machine(results["environment"]),
        },
    )


def summarize(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return images a second of each network and system, and as multiples of the tutorial's.

    Multiples are taken within each round, of the faster one of its two settings.
    """
    rates = {(c["network"], c["system"], c["round"]): c["images_per_s"] for c in cells}
    base: dict[tuple[str, int], float] = {}
    for (network, system, number), rate in rates.items():
        if system in TUTORIALS:
            base[network, number] = max(rate, base.get((network, number), 0.0))
    networks = dict.fromkeys(cell["network"] for cell in cells)
    rows = []
    for network in networks:
        for system in SYSTEMS:
            mine = {
                r: rate for (n, s, r), rate in rates.items() if (n, s) == (network, system.name)
            }
            if not mine:
                continue
            ratios = [
                rate / base[network, number]
                for number, rate in mine.items()
                if (network, number) in base and system.name not in TUTORIALS
            ]
            rows.append(
                {
                    "network": network,
                    "system": system.name,
                    "images_per_s": spread(mine.values(), 1),
                    "times_tutorial": spread(ratios),
                }
            )
    return rows


def speed_table(speed: list[dict[str, Any]]) -> str:
    """Return images a second, seconds an epoch and the multiple of the tutorial's loop."""
    rows = [["network", "loop", "images/s", "smallest to largest", "s an epoch", "× tutorial"]]
    for one in speed:
        rate, ratio = one["images_per_s"], one["times_tutorial"]
        rows.append(
            [
                one["network"],
                one["system"],
                f"{rate['median']:,.0f}",
                f"{rate['min']:,.0f} to {rate['max']:,.0f}",
                f"{EPOCH_IMAGES / rate['median']:,.0f}",
                f"{ratio['median']:.2f}" if ratio else "",
            ]
        )
    return markdown_table(rows)


def way_table(ways: dict[str, Any]) -> str:
    """Return how long either loop took to the target."""
    rows = [["loop", "seed", f"s to {ways['target']:.0%}", "epochs", "test accuracy then"]]
    for one in ways["runs"]:
        reached = one["reached_after"]
        rows.append(
            [
                one["loop"],
                str(one["seed"]),
                "never" if reached is None else f"{reached:,.0f}",
                str(len(one["seconds"])),
                f"{one['accuracies'][-1]:.2%}",
            ]
        )
    return markdown_table(rows)


def _machine(environment: dict[str, Any]) -> str:
    return (
        f"{environment['cpu']}, {environment['cores']} cores, torch "
        f"{environment['versions']['torch']}; {environment['bfloat16']}"
    )
