"""What the routes of one application share."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from starlette.requests import Request

from service.decode import decode_image
from service.errors import DeadlineExceededError
from service.evaluation import EvaluationComparison, compare_evaluations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from service.catalogue import Catalogue
    from service.lifecycle import Lifecycle
    from service.limits import Limits
    from service.metrics import ServiceMetrics
    from service.providers import Provider
    from service.readiness import Readiness
    from service.settings import Settings


@dataclass
class ServiceState:
    """The stages of the pipeline, made once per application."""

    settings: Settings
    limits: Limits
    provider: Provider
    catalogue: Catalogue
    metrics: ServiceMetrics
    lifecycle: Lifecycle
    readiness: Readiness
    run_executor: Executor = field(repr=False)
    decode_executor: Executor = field(repr=False)

    async def decode(self, contents: Sequence[bytes]) -> NDArray[np.uint8]:
        """Return images (N, 32, 32, 3), decoded in a worker thread.

        Always there: a few hundred bytes can announce millions of pixels.
        """
        loop = asyncio.get_running_loop()
        abandoned = threading.Event()
        try:
            return await loop.run_in_executor(
                self.decode_executor, self._decode, contents, abandoned
            )
        except asyncio.CancelledError:
            abandoned.set()  # the thread cannot be stopped, but it need not begin the next image
            raise

    def _decode(self, contents: Sequence[bytes], abandoned: threading.Event) -> NDArray[np.uint8]:
        images = []
        for content in contents:
            if abandoned.is_set():
                raise DeadlineExceededError("nobody waits for these images any more")
            images.append(decode_image(content, self.limits))
        return np.stack(images)

    @cached_property
    def evaluation(self) -> EvaluationComparison:
        """The evaluations side by side; computed once, for artefacts never change."""
        return compare_evaluations(self.catalogue.newest_bundles)

    async def close(self) -> None:
        """Finish what was accepted and end the worker threads."""
        self.lifecycle.start_draining()
        for model in self.catalogue.models:
            await model.batcher.close()
        self.run_executor.shutdown()
        self.decode_executor.shutdown(cancel_futures=True)


def service_state(request: Request) -> ServiceState:
    """Return the state of the application that answers this request."""
    state: ServiceState = request.app.state.service
    return state
