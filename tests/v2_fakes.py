"""A service without networks for the tests of `/v2`: answers are recognizable, calls recorded."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.bundle import load_bundle
from service.api.admission import Admission
from service.api.middleware.request_id import RequestIdMiddleware
from service.api.v2.application import build_v2
from service.errors import UnknownModelError
from service.images.decoder_pool import Decoder
from service.inference.session import Scores
from service.observability.statistics import Duration, ModelStatistics, failure_reason
from service.registry.catalogue import Catalogue
from service.registry.classify import Classification, Classifier
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from starlette.types import ASGIApp, Receive, Scope, Send

    from models.bundle import Bundle
    from models.manifest import ImageSpec

STATISTICS = ModelStatistics(
    inference_count=7,
    execution_count=3,
    last_inference_ms=1_700_000_000_000,
    success=Duration(4, 4_000),
    fail=Duration(1),
    batches={2: Duration(2, 300), 1: Duration(1, 100)},
)


def scores_of(images: NDArray[np.uint8]) -> Scores:
    """Logits that count down from an image's mean, in an order that its first pixel turns."""
    means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float32)
    turns = (np.arange(10)[None, :] + images[:, 0, 0, 0][:, None]) % 10
    logits = (means[:, None] / 16 - turns).astype(np.float32)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Scores(logits, (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32))


class FakeMetrics:
    """Keeps what was counted of a model."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    @contextmanager
    def counting_failures(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.failures.append(failure_reason(error))
            raise


class FakeCache:
    """Asks the model, and says that the answer was cached, or was not."""

    def __init__(self, *, hit: bool) -> None:
        self._hit = hit

    async def score(self, model: Model, images: NDArray[np.uint8], deadline: float) -> Any:
        return await model.score(images, deadline), self._hit


@dataclass(eq=False)
class Model:
    """Scores after `seconds`, or raises `error`."""

    name: str
    variant: str
    bundle: Bundle
    version: str = "1.0.0"
    seconds: float = 0.0
    error: Exception | None = None
    full: Exception | None = None
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    seen: list[NDArray[np.uint8]] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.manifest.labels

    @property
    def spec(self) -> ImageSpec:
        return self.bundle.manifest.input

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"

    def check_room(self, _deadline: float) -> None:
        if self.full:
            raise self.full

    async def score(self, images: NDArray[np.uint8], _deadline: float) -> Any:
        await asyncio.sleep(self.seconds)
        if self.error:
            raise self.error
        self.seen.append(images)
        return SimpleNamespace(scores=scores_of(images), queue_s=0.002, run_s=0.003)


@dataclass(frozen=True)
class Entry:
    name: str
    version: str
    state: str
    reason: str = ""


class Repository:
    """Two models, one of them not loaded; remembers what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error: Exception | None = None

    def index(self) -> list[Entry]:
        return [
            Entry("tiny-bn", "1.0.0", "READY"),
            Entry("tiny-old", "0.9.0", "UNAVAILABLE", "unloaded"),
        ]

    async def load(self, name: str) -> None:
        self._called("load", name)

    async def unload(self, name: str) -> None:
        self._called("unload", name)

    def _called(self, what: str, name: str) -> None:
        if self.error:
            raise self.error
        if name != "tiny-bn":
            raise UnknownModelError(f"no artifact {name!r} is in the folder")
        self.calls.append((what, name))


class Readiness:
    """Ready, unless it has an error to raise."""

    error: Exception | None = None

    async def check(self) -> None:
        if self.error:
            raise self.error


class State:
    """What the routes of `/v2` use of the service's state."""

    def __init__(self, bundle: Bundle, **settings: Any) -> None:
        self.settings = Settings(threads=1, **settings)
        self.limits = self.settings.limits
        self.model = Model("tiny-bn", "folded", bundle)
        self.unfolded = Model("tiny-bn-unfolded", "unfolded", bundle)
        self.older = Model("tiny-bn", "folded", bundle, version="0.9.0")
        self.catalogue = Catalogue([self.model, self.unfolded, self.older])
        self.admission = Admission(self.settings.max_requests, self.settings.max_held_bytes)
        self.readiness = Readiness()
        self.repository = Repository()
        self.answers: list[tuple[Classification, dict[str, float]]] = []
        self.metrics = SimpleNamespace(statistics=lambda _name, _version: STATISTICS)
        self.decoder = Decoder(self.limits, threads=1)
        self.classifier = Classifier(self.decoder, engine=None)

    def answered(self, result: Classification, **seconds: float) -> None:
        self.answers.append((result, seconds))

    def cache(self, *, hit: bool) -> None:
        """Answer as if every image had been seen before, or none."""
        self.classifier = Classifier(self.decoder, engine=None, cache=FakeCache(hit=hit))


class Watched:
    """The application as the service runs it: requests have an id, failures do not spread."""

    def __init__(self, state: State) -> None:
        self.scope: Scope = {}
        self.failure: Exception | None = None
        self._app: ASGIApp = RequestIdMiddleware(self._answer)
        self._v2 = build_v2(state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.failure = scope, None
        try:
            await self._v2(scope, receive, send)
        except Exception as failure:
            self.failure = failure


def load_fake_state(artifacts: Path, **settings: Any) -> State:
    """Return the state around the labels and specs of a synthetic artifact."""
    return State(load_bundle(artifacts / "tiny-bn-1.0.0"), **settings)
