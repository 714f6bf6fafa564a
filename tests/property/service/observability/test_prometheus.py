"""Whatever happened: Triton's names, the statistics and the own counters say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from service.observability.prometheus import ServiceMetrics

MODELS = [("a", "1.0.0"), ("a", "1.1.0"), ("b", "1.0.0")]
SAMPLE = re.compile(r"^(nv_inference_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
# The text has 17 digits, and seconds become microseconds and back.
ROUNDING = 1e-9

seconds = st.floats(0, 100)


@dataclass(frozen=True)
class Answered:
    model: tuple[str, str]
    images: int
    stages: tuple[float, float, float, float]  # queue, input, infer, output


@dataclass(frozen=True)
class Failed:
    model: tuple[str, str]
    reason: str


@dataclass(frozen=True)
class Ran:
    model: tuple[str, str]
    images: int
    seconds: float


models = st.sampled_from(MODELS)
events = st.lists(
    st.builds(Answered, models, st.integers(1, 64), st.tuples(seconds, seconds, seconds, seconds))
    | st.builds(Failed, models, st.sampled_from(["REJECTED", "CANCELED", "BACKEND", "OTHER"]))
    | st.builds(Ran, models, st.integers(1, 64), seconds),
    max_size=20,
)


def count(metrics: ServiceMetrics, happened: list[Answered | Failed | Ran]) -> None:
    counters = {model: metrics.of_model(*model) for model in MODELS}
    for event in happened:
        counter = counters[event.model]
        match event:
            case Answered(_, images, (queue, given, infer, output)):
                counter.succeeded(
                    images=images, queue_s=queue, input_s=given, infer_s=infer, output_s=output
                )
            case Failed(_, reason):
                counter.failed(reason)
            case Ran(_, images, ran):
                counter.ran(images, ran)


def close(actual: float, expected: float) -> bool:
    return abs(actual - expected) <= ROUNDING * max(1, abs(expected))


@settings(deadline=None)
@given(events)
def test_all_three_say_the_same(happened: list[Answered | Failed | Ran]) -> None:
    metrics = ServiceMetrics()
    count(metrics, happened)
    samples = SAMPLE.findall(metrics.render().decode())
    shown = {(name, labels): float(value) for name, labels, value in samples}
    for name, version in MODELS:
        mine = [event for event in happened if event.model == (name, version)]
        answered = [event for event in mine if isinstance(event, Answered)]
        runs = [event for event in mine if isinstance(event, Ran)]
        failures = [event for event in mine if isinstance(event, Failed)]
        found = metrics.statistics(name, version)
        labels = f'model="{name}",version="{version}"'

        images = sum(event.images for event in answered)
        assert images == found.inference_count == shown["nv_inference_count", labels]
        assert len(runs) == found.execution_count == shown["nv_inference_exec_count", labels]
        requests = shown["nv_inference_request_success", labels]
        assert len(answered) == found.success.count == requests
        failed = sum(
            value
            for (alias, its_labels), value in shown.items()
            if alias == "nv_inference_request_failure"
            and f'model="{name}"' in its_labels
            and f'version="{version}"' in its_labels
        )
        assert len(failures) == found.fail.count == failed

        totals = [sum(event.stages[stage] for event in answered) for stage in range(4)]
        stages = {
            "queue": (found.queue, totals[0]),
            "compute_input": (found.compute_input, totals[1]),
            "compute_infer": (found.compute_infer, totals[2]),
            "compute_output": (found.compute_output, totals[3]),
            "request": (found.success, sum(totals)),
        }
        for alias, (duration, expected) in stages.items():
            assert duration.count == len(answered)
            assert close(duration.ns / 1e9, expected)
            assert close(shown[f"nv_inference_{alias}_duration_us", labels] / 1e6, expected)

        assert {event.images for event in runs} == set(found.batches)
        for size, duration in found.batches.items():
            of_size = [event.seconds for event in runs if event.images == size]
            assert duration.count == len(of_size)
            assert close(duration.ns / 1e9, sum(of_size))
    assert metrics.statistics("nobody", "1.0.0").inference_count == 0


def test_seconds_of_another_stage_would_be_noticed() -> None:
    metrics = ServiceMetrics()
    count(metrics, [Answered(MODELS[0], 1, (1.0, 2.0, 4.0, 8.0))])
    found = metrics.statistics(*MODELS[0])
    totals = [found.queue.ns, found.compute_input.ns, found.compute_infer.ns]
    assert not any(close(ns / 1e9, 8.0) for ns in totals)
    assert close(found.compute_output.ns / 1e9, 8.0)
