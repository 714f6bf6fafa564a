"""Ranges of the networks' options; an option out of its range is a `TypeError` that says so."""

from __future__ import annotations

CLASSES = (2, 100_000)
MOMENTA = (1e-6, 1)  # of a new batch in running statistics; with less they stay where they began


def check_count(name: str, value: object, least: int, most: int) -> None:
    """Refuse what is no integer from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise TypeError(f"{name} = {value!r} must be an integer from {least:,} to {most:,}")


def check_number(name: str, value: object, least: float, most: float) -> None:
    """Refuse what is no number from `least` to `most`."""
    if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
        raise TypeError(f"{name} = {value!r} must be from {least:g} to {most:g}")
