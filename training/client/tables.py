"""Predictions and figures as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from training.client.classify import Classified
from training.client.load.step_report import Counts, Percentiles, StepReport

RUNNERS_UP_SHOWN = 4


def predictions_table(rows: Sequence[Classified]) -> Table:
    """Return one line a file; a file without a prediction is not in it."""
    table = Table("file", "label", "probability", "runners-up")
    for row in rows:
        if row.prediction is None:
            continue
        others = row.prediction.get("top", [])[1 : 1 + RUNNERS_UP_SHOWN]
        table.add_row(
            row.file,
            row.prediction["label"],
            f"{row.prediction['probability']:.2%}",
            ", ".join(f"{other['label']} {other['probability']:.2%}" for other in others),
        )
    return table


def load_table(steps: Sequence[StepReport], deadline_ms: float | None) -> Table:
    """Return one column a step, for there are more figures than steps."""
    table = Table("", *(_heading(step) for step in steps))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cells in _rows(steps, deadline_ms):
        if any(cells):
            table.add_row(name, *cells)
    return table


def _heading(step: StepReport) -> str:
    if step.offered_per_s is not None:
        return f"{step.offered_per_s:,g}/s"
    return f"{step.connections:,} conn."


def _rows(steps: Sequence[StepReport], deadline_ms: float | None) -> list[tuple[str, list[str]]]:
    counts = [step.counts for step in steps]
    rows = [
        ("sent/s", [f"{step.sent_per_s:,.1f}" for step in steps]),
        ("answered/s", [f"{step.answered_per_s:,.1f}" for step in steps]),
        ("goodput/s", [f"{step.goodput_per_s:,.1f}" for step in steps]),
    ]
    if any(step.images_per_request > 1 for step in steps):
        rows.append(("goodput, images/s", [f"{s.goodput_images_per_s:,.0f}" for s in steps]))
    rows.append(("ok", [f"{count.ok:,}" for count in counts]))
    if deadline_ms is not None:
        rows.append((f"… after {deadline_ms:g} ms", [f"{count.late:,}" for count in counts]))
    rows += [
        ("503", [f"{count.rejected_503:,}" for count in counts]),
        ("504", [f"{count.timed_out_504:,}" for count in counts]),
        ("other", [_others(count) for count in counts]),
        *_latency_rows("accepted", [step.accepted for step in steps]),
        *_latency_rows("rejected", [step.rejected for step in steps]),
        ("Retry-After, s", [_tally(step.retry_after) for step in steps]),
        ("accepted since sent p99, ms", _p99([step.accepted_service for step in steps])),
        ("rejected since sent p99, ms", _p99([step.rejected_service for step in steps])),
        ("lag p99, ms", _p99([step.lag for step in steps])),
        ("generator's CPU", [f"{step.generator_cpu_share:.0%}" for step in steps]),
        ("wrong answers", ["" if s.mismatches is None else f"{s.mismatches:,}" for s in steps]),
    ]
    return rows


def _latency_rows(
    name: str, all_times: Sequence[Percentiles | None]
) -> list[tuple[str, list[str]]]:
    shown = (("p50", "p50_ms"), ("p90", "p90_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"))
    return [
        (
            f"{name} {label}, ms",
            ["" if times is None else f"{getattr(times, field):,.2f}" for times in all_times],
        )
        for label, field in (*shown, ("max", "max_ms"))
    ]


def _p99(all_times: Sequence[Percentiles | None]) -> list[str]:
    return ["" if times is None else f"{times.p99_ms:,.2f}" for times in all_times]


def _others(counts: Counts) -> str:
    refused = {"429": counts.rejected_429} if counts.rejected_429 else {}
    return _tally({**refused, **counts.other}) or "0"


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{value}: {count:,}" for value, count in counts.items())
