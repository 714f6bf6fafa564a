"""How a model's batches are cut, chosen from a short measurement when it is loaded.

    t(n) = a + b n      seconds of a batch of n images in one thread

A batch runs on the event loop, with no switch of threads, as long as that keeps the loop for no
more than `LOOP_SECONDS`: other requests, probes and refusals wait that long. What is larger is cut
into chunks of that size for the shared threads. Where there is a worker for each CPU, a batch is at
most one chunk: another thread would find no CPU of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.inference.session import Session

LOOP_SECONDS = 0.005
MEASURED_SIZES = (1, 4, 16)
BUCKETS = (64, 32, 16, 8, 4, 2, 1)
REPEATS = 3


@dataclass(frozen=True)
class Measurement:
    """The run time of a batch in one thread: the shortest seen, for a busy machine only adds."""

    images: int
    milliseconds: float


@dataclass(frozen=True)
class ModelTuning:
    """What was measured of a model, and the choice that follows.

    `chunk_size` is the most images that run at once: on the event loop, or as one chunk of a
    larger batch; 0 where even a single image takes too long for the loop.
    """

    measured: tuple[Measurement, ...]
    call_ms: float  # a
    image_ms: float  # b
    chunk_size: int
    max_batch_size: int  # most images of different requests that run as one batch


def tune(
    session: Session,
    image_shape: tuple[int, int, int],
    *,
    max_batch_size: int,
    has_cpus_to_itself: bool,
    clock: Callable[[], float] = time.thread_time,
) -> ModelTuning:
    """Measure a session for some milliseconds, and choose.

    `has_cpus_to_itself` says that this process may use more CPUs than there are workers. The clock
    is that of the thread's CPU, which stands still while another process has it; for a network
    that does not run on the CPU it must be another.
    """
    measured = [(size, _seconds(session, (size, *image_shape), clock)) for size in MEASURED_SIZES]
    call, image = fit_line(measured)
    chunk = choose_chunk(call, image)
    return ModelTuning(
        measured=tuple(Measurement(size, seconds * 1000) for size, seconds in measured),
        call_ms=call * 1000,
        image_ms=image * 1000,
        chunk_size=chunk,
        max_batch_size=max_batch_size if has_cpus_to_itself else min(max_batch_size, max(1, chunk)),
    )


def choose_chunk(call: float, image: float) -> int:
    """Return the largest bucket that a call of these seconds leaves the event loop fit for."""
    fitting = (bucket for bucket in BUCKETS if call + image * bucket <= LOOP_SECONDS)
    return next(fitting, 0)


def fit_line(measured: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return a and b of t(n) = a + b n by least squares, neither of them negative."""
    sizes, seconds = (np.array(column, dtype=float) for column in zip(*measured, strict=True))
    image, call = np.polyfit(sizes, seconds, 1)
    if call < 0:
        return 0.0, float((sizes * seconds).sum() / (sizes**2).sum())
    return float(call), max(0.0, float(image))


def _seconds(session: Session, shape: tuple[int, ...], clock: Callable[[], float]) -> float:
    images = np.zeros(shape, np.uint8)  # (N, H, W, C)
    session.run(images)
    return min(_timed(session, images, clock) for _ in range(REPEATS))


def _timed(session: Session, images: np.ndarray, clock: Callable[[], float]) -> float:
    started = clock()
    session.run(images)
    return clock() - started
