"""What Prometheus may scrape. Label values come from routes, models and error types only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from service.batcher import Batcher
    from service.lifecycle import Lifecycle

STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCH_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ServiceMetrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "foldnorm_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._stages = Histogram(
            "foldnorm_stage_seconds",
            "Seconds that a request spent in each stage: decode, queue, run, total.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        self._images = Counter("foldnorm_images", "Images classified.", registry=self.registry)
        self._rejections = Counter(
            "foldnorm_rejections", "Requests refused.", ["reason"], registry=self.registry
        )
        self._batches = Histogram(
            "foldnorm_batch_images",
            "Images that ran as one batch.",
            ["model", "version"],
            buckets=BATCH_IMAGES,
            registry=self.registry,
        )
        self._run_seconds = Counter(
            "foldnorm_run_seconds",
            "Seconds that a model ran.",
            ["model", "version"],
            registry=self.registry,
        )
        self._queued = Gauge(
            "foldnorm_queue_images",
            "Images that wait for a model.",
            ["model", "version"],
            registry=self.registry,
        )
        self._working = Gauge(
            "foldnorm_work_in_progress",
            "Requests with images that are being answered.",
            registry=self.registry,
        )

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answer; `route` is the template that matched, never the path itself."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()

    def count_rejection(self, reason: str) -> None:
        """Count a request that was answered with a problem."""
        self._rejections.labels(reason).inc()

    def count_images(self, number: int) -> None:
        """Count images that were classified."""
        self._images.inc(number)

    def observe_stage(self, stage: str, milliseconds: float) -> None:
        """Record the time that a request spent in a stage."""
        self._stages.labels(stage).observe(milliseconds / 1000)

    def batch_observer(self, model: str, version: str) -> Callable[[int, float], None]:
        """Return what a model calls with the images and seconds of each batch."""
        batches = self._batches.labels(model, version)
        seconds_run = self._run_seconds.labels(model, version)

        def observe(images: int, seconds: float) -> None:
            batches.observe(images)
            seconds_run.inc(seconds)

        return observe

    def watch_queue(self, model: str, version: str, batcher: Batcher[Any, Any]) -> None:
        """Read a queue's length whenever it is scraped."""
        self._queued.labels(model, version).set_function(lambda: batcher.queued_size)

    def watch_work(self, lifecycle: Lifecycle) -> None:
        """Read the requests in progress whenever they are scraped."""
        self._working.set_function(lambda: lifecycle.working)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)
