"""What a model has done since its first request, in the terms of the Open Inference Protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import ClientDisconnect

from service.errors import DeadlineExceededError, OverloadedError, ServiceError

FailureReason = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]


@dataclass(frozen=True)
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True)
class ModelStatistics:
    """The statistics of one model in one version, summed over all workers.

    An inference is one image, an execution one run of the network on a batch.
    """

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0  # milliseconds since the epoch
    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()  # decoding and batching
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()
    batches: dict[int, Duration] = field(default_factory=dict)  # images in the batch -> runs


def failure_reason(error: BaseException) -> FailureReason:
    """Return Triton's word for why a request got no answer."""
    if isinstance(error, OverloadedError | DeadlineExceededError):
        return "REJECTED"
    if isinstance(error, asyncio.CancelledError | ClientDisconnect):
        return "CANCELED"
    return "OTHER" if isinstance(error, ServiceError) else "BACKEND"
