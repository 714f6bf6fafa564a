"""Which change did it, in two sentences for a reader who knows no statistics."""

from __future__ import annotations

from training.studies.reports.analysis import AttributionResult


def plain_words(result: AttributionResult) -> str:
    """Return how the gap divides among the changes, and which of them depends on which other."""
    by_size = sorted(result.shares, key=lambda share: -share.estimate.value)
    parts = _listed([f"{share.switch} {_adds(share.estimate.value)}" for share in by_size])
    widest = max((one.estimate.high - one.estimate.low) / 2 for one in result.shares)
    sure = f", each to within about {100 * widest:.1f} points" if widest < 1 else ""
    first = f"All changes together {_move(result.gap)} the accuracy: {parts}{sure}."
    found = result.dependence
    if found is None:
        return first
    return (
        f"{first} What a change is worth depends on the others: {found.switch} "
        f"{_adds(found.before)} without {found.other}, and {_adds(found.after)} with it."
    )


def _move(gap: float) -> str:
    return f"add {100 * gap:.1f} points to" if gap >= 0 else f"take {-100 * gap:.1f} points from"


def _adds(value: float) -> str:
    return f"{'adds' if value >= 0 else 'takes'} {abs(100 * value):.1f}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
