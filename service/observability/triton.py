"""The same counts under Triton's names, so that its dashboards and autoscalers work unchanged.

    foldnorm_stage_seconds    queue, decode, run, respond, total
                       ──►    nv_inference_{queue,compute_input,compute_infer,compute_output,
                              request}_duration_us, nv_inference_request_success

Triton's counters have no `_total`, which the OpenMetrics naming demands: they are exposed untyped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from service.observability.statistics import Duration, ModelStatistics

DURATIONS = {
    "request": "total",
    "queue": "queue",
    "compute_input": "decode",
    "compute_infer": "run",
    "compute_output": "respond",
}
Key = tuple[str, str]


class TritonAliases:
    """A collector of what another registry has collected, renamed."""

    def __init__(self, collected: Iterable[Metric]) -> None:
        self._collected = list(collected)

    def collect(self) -> Iterator[Metric]:
        """Yield Triton's metrics."""
        models = sorted({key for key in map(_key, _samples(self._collected)) if key})
        everything = [(key, statistics(self._collected, *key)) for key in models]
        yield _metric(
            "request_success",
            "Requests answered.",
            [(key, {}, found.success.count) for key, found in everything],
        )
        yield _metric(
            "count", "Images classified.", [(k, {}, s.inference_count) for k, s in everything]
        )
        yield _metric(
            "exec_count", "Batches run.", [(k, {}, s.execution_count) for k, s in everything]
        )
        for alias, stage in DURATIONS.items():
            yield _metric(
                f"{alias}_duration_us",
                f"Microseconds of the stage {stage}.",
                [(key, {}, _stage(found, alias).ns / 1000) for key, found in everything],
            )
        yield _metric(
            "request_failure",
            "Requests that got no answer.",
            self._labelled("foldnorm_failures_total", "reason"),
        )
        yield _metric(
            "pending_request_count",
            "Requests that wait.",
            self._labelled("foldnorm_queue_requests"),
        )

    def _labelled(self, name: str, *labels: str) -> list[tuple[Key, dict[str, str], float]]:
        return [
            (key, {label: sample.labels[label] for label in labels}, sample.value)
            for sample in _samples(self._collected)
            if sample.name == name and (key := _key(sample))
        ]


def statistics(collected: Iterable[Metric], model: str, version: str) -> ModelStatistics:
    """Return one model's statistics from what a registry collected."""
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    runs: defaultdict[int, int] = defaultdict(int)
    run_seconds: defaultdict[int, float] = defaultdict(float)
    for sample in _samples(collected):
        if _key(sample) != (model, version):
            continue
        labels, value = sample.labels, sample.value
        match sample.name:
            case "foldnorm_stage_seconds_sum":
                seconds[labels["stage"]] += value
            case "foldnorm_stage_seconds_count":
                counts[labels["stage"]] += int(value)
            case "foldnorm_batches_total":
                runs[int(labels["images"])] += int(value)
            case "foldnorm_batch_seconds_total":
                run_seconds[int(labels["images"])] += value
            case "foldnorm_cache_total":
                counts[f"cache_{labels['outcome']}"] += int(value)
            case "foldnorm_images_total" | "foldnorm_failures_total":
                counts[sample.name] += int(value)
            case "foldnorm_last_inference_timestamp_seconds":
                seconds["last"] = value

    def stage(name: str) -> Duration:
        return Duration(counts[name], round(seconds[name] * 1e9))

    return ModelStatistics(
        inference_count=counts["foldnorm_images_total"],
        execution_count=sum(runs.values()),
        last_inference_ms=round(seconds["last"] * 1000),
        success=stage("total"),
        fail=Duration(counts["foldnorm_failures_total"]),
        queue=stage("queue"),
        compute_input=stage("decode"),
        compute_infer=stage("run"),
        compute_output=stage("respond"),
        cache_hit=Duration(counts["cache_hit"]),
        cache_miss=Duration(counts["cache_miss"]),
        batches={
            size: Duration(runs[size], round(run_seconds[size] * 1e9)) for size in sorted(runs)
        },
    )


def _stage(found: ModelStatistics, alias: str) -> Duration:
    duration: Duration = found.success if alias == "request" else getattr(found, alias)
    return duration


def _samples(collected: Iterable[Metric]) -> Iterator[Sample]:
    for metric in collected:
        yield from metric.samples


def _key(sample: Sample) -> Key | None:
    """Return the model and version that a sample is of, None for one of the whole service."""
    if "model" not in sample.labels:
        return None
    return sample.labels["model"], sample.labels["version"]


def _metric(name: str, text: str, values: Iterable[tuple[Key, dict[str, str], float]]) -> Metric:
    metric = Metric(f"nv_inference_{name}", text, "untyped")
    for (model, version), more, value in values:
        metric.add_sample(metric.name, {"model": model, "version": version, **more}, value)
    return metric
