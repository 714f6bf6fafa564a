"""What Prometheus may scrape. Label values come from routes, models and error types only.

Values of one worker live in its own files when there are several (`PROMETHEUS_MULTIPROC_DIR`), and
whichever worker is asked sums them: a worker that died leaves its counts behind, not its gauges.
`service.observability.triton` says the same under the names that Triton's dashboards expect.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from service.observability.statistics import FailureReason, ModelStatistics, failure_reason
from service.observability.triton import TritonAliases, statistics
from service.system import resident_bytes

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
STAGES = ("decode", "queue", "run", "respond", "total")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MODEL = ("model", "version")


class Queue(Protocol):
    """Something in which images wait."""

    queued_size: int

    @property
    def waiting(self) -> int:
        """How many requests wait."""


class Work(Protocol):
    """What is being answered."""

    working: int
    held_bytes: int


class ModelMetrics:
    """Counts what one model does; made once, so that a request looks no label up."""

    def __init__(self, metrics: ServiceMetrics, model: str, version: str) -> None:
        self._stages = {s: metrics.stages.labels(model, version, s) for s in STAGES}
        self._images = metrics.images.labels(model, version)
        self._last = metrics.last_inference.labels(model, version)
        self._failures = metrics.failures
        self._batches = metrics.batches
        self._batch_seconds = metrics.batch_seconds
        self._labels = (model, version)

    def succeeded(
        self, *, images: int, queue_s: float, input_s: float, infer_s: float, output_s: float
    ) -> None:
        """Count an answered request and the seconds of its stages."""
        stages = self._stages
        stages["decode"].observe(input_s)
        stages["queue"].observe(queue_s)
        stages["run"].observe(infer_s)
        stages["respond"].observe(output_s)
        stages["total"].observe(input_s + queue_s + infer_s + output_s)
        self._images.inc(images)
        self._last.set(time.time())

    @contextmanager
    def counting_failures(self) -> Iterator[None]:
        """Count a request that gets no answer because what runs inside raises."""
        try:
            yield
        except BaseException as error:
            self.failed(failure_reason(error))
            raise

    def failed(self, reason: FailureReason) -> None:
        """Count a request that got no answer."""
        self._failures.labels(*self._labels, reason).inc()

    def ran(self, images: int, seconds: float) -> None:
        """Count a batch."""
        size = str(images)
        self._batches.labels(*self._labels, size).inc()
        self._batch_seconds.labels(*self._labels, size).inc(seconds)


class ServiceMetrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counted: dict[tuple[str, str, str], Counter] = {}
        self._samplers: list[Callable[[], None]] = []
        counter, gauge = self._counter, self._gauge
        self.requests = counter("requests", "Requests answered.", "method", "route", "status")
        self.rejections = counter("rejections", "Requests refused.", "reason")
        self.images = counter("images", "Images classified.", *MODEL)
        self.failures = counter("failures", "Requests that got no answer.", *MODEL, "reason")
        self.batches = counter("batches", "Batches run, by their images.", *MODEL, "images")
        self.batch_seconds = counter(
            "batch_seconds", "Seconds that batches ran, by their images.", *MODEL, "images"
        )
        self.cache = counter("cache", "Look-ups of the answer cache.", *MODEL, "outcome")
        self.shadow = counter("shadow", "Images for the shadow.", "primary", "shadow", "outcome")
        self.disagreements = counter(
            "disagreements", "Images on which the shadow differs.", "primary", "shadow", "a", "b"
        )
        self.stages = Histogram(
            "foldnorm_stage_seconds",
            "Seconds of a request in each stage: decode, queue, run, respond, total.",
            [*MODEL, "stage"],
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        self.last_inference = Gauge(
            "foldnorm_last_inference_timestamp_seconds",
            "When a model answered last.",
            MODEL,
            registry=self.registry,
            multiprocess_mode="max",
        )
        self.queued_images = gauge("queue_images", "Images that wait for a model.", *MODEL)
        self.queued_requests = gauge("queue_requests", "Requests that wait for a model.", *MODEL)
        self.working = gauge("work_in_progress", "Requests with images being answered.")
        self.body_bytes = gauge("body_bytes", "Bytes of request bodies held.")
        self.resident = gauge("resident_bytes", "Resident memory of the workers.")
        self.workers = gauge("workers", "Processes that answer.")
        self._queues: list[tuple[Gauge, Gauge, Queue]] = []
        self._samplers += [self._sample_process, self._sample_queues]

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is the template that matched, never the path itself."""
        key = (method if method in METHODS else "other", route, str(status))
        if key not in self._counted:
            self._counted[key] = self.requests.labels(*key)
        self._counted[key].inc()

    def count_rejection(self, reason: str) -> None:
        """Count a request that was answered with a problem."""
        self.rejections.labels(reason).inc()

    def of_model(self, model: str, version: str) -> ModelMetrics:
        """Return what counts a model's work."""
        return ModelMetrics(self, model, version)

    def watch_queues(self, queues: Mapping[tuple[str, str], Queue]) -> None:
        """Sample these queues, by model and version, from now on, and no others."""
        for images, requests, _ in self._queues:
            images.set(0)
            requests.set(0)
        self._queues = [
            (self.queued_images.labels(*model), self.queued_requests.labels(*model), queue)
            for model, queue in queues.items()
        ]

    def _sample_queues(self) -> None:
        for images, requests, queue in self._queues:
            images.set(queue.queued_size)
            requests.set(queue.waiting)

    def watch_work(self, work: Work) -> None:
        """Sample the requests in progress and the bytes that they hold."""

        def sample() -> None:
            self.working.set(work.working)
            self.body_bytes.set(work.held_bytes)

        self._samplers.append(sample)

    def sample(self) -> None:
        """Set every gauge of this process; the other workers read them when they are scraped."""
        for sampler in self._samplers:
            sampler()

    def statistics(self, model: str, version: str) -> ModelStatistics:
        """Return what a model has done in all workers."""
        return statistics(self._source().collect(), model, version)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format, summed over the workers."""
        self.sample()
        registry = self._source()
        aliases = CollectorRegistry()
        aliases.register(TritonAliases(list(registry.collect())))
        process = b"" if _is_shared() else generate_latest(self._process_registry())
        return generate_latest(registry) + generate_latest(aliases) + process

    def _source(self) -> CollectorRegistry:
        if not _is_shared():
            return self.registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return registry

    def _process_registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        return registry

    def _sample_process(self) -> None:
        self.resident.set(resident_bytes())
        self.workers.set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"foldnorm_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(
            f"foldnorm_{name}",
            text,
            labels,
            registry=self.registry,
            multiprocess_mode="livesum",
        )


def _is_shared() -> bool:
    return SHARED_FOLDER in os.environ
