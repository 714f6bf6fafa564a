"""Why a request got no answer, in Triton's terms."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect

from service.errors import (
    DeadlineExceededError,
    DrainingError,
    MalformedRequestError,
    ModelRefusedError,
    OverloadedError,
    UndecodableImageError,
)
from service.observability.statistics import failure_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OverloadedError("full", 1.0), "REJECTED"),
        (DrainingError("stopping", 1.0), "REJECTED"),
        (DeadlineExceededError("late"), "REJECTED"),
        (asyncio.CancelledError(), "CANCELED"),
        (ClientDisconnect(), "CANCELED"),
        (MalformedRequestError("top_k=0"), "OTHER"),
        (UndecodableImageError("no image"), "OTHER"),
        (ModelRefusedError("wrong logits"), "OTHER"),
        (RuntimeError("the network is broken"), "BACKEND"),
        (MemoryError(), "BACKEND"),
        (TimeoutError(), "BACKEND"),  # of something else than the deadline
    ],
)
def test_every_failure_has_one_of_four_reasons(error: BaseException, reason: str) -> None:
    assert failure_reason(error) == reason
