"""What sits beside the path of a request: cache, shadow, tuning, entity tags, hang-ups."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.api.state import ServiceState
from service.api.v1.schemas import PredictAnswer
from service.app import build_app, build_state
from service.errors import OverloadedError
from service.inference.session import Scores
from service.settings import Settings
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def running(artifacts: Path) -> Callable[..., Any]:
    """Runs an application with some settings; gives its state and a client."""

    @contextmanager
    def run(**settings: Any) -> Iterator[tuple[ServiceState, AppClient]]:
        state = build_state(Settings(artifacts=artifacts, threads=1, **settings))
        with AppClient(build_app(state)) as client:
            yield state, client

    return run


def count_runs(state: ServiceState, name: str) -> list[int]:
    """Return a list that grows by the images of every batch of a model from now on."""
    model = state.catalogue.find(name)
    runs: list[int] = []
    run = model.session.run

    def counted(images: NDArray[np.uint8]) -> Scores:
        runs.append(len(images))
        return run(images)

    object.__setattr__(model.session, "run", counted)
    return runs


def post(client: AppClient, content: bytes, query: str = "") -> Any:
    return client.post(
        f"/v1/predict{query}", content=content, headers={"content-type": "image/png"}
    )


def test_an_answer_is_what_the_documentation_says(running: Any, png: Png) -> None:
    with running() as (_, client):
        answer = post(client, png(IMAGES[0]), "?top_k=3").json()
    validated = PredictAnswer.model_validate(answer, strict=True)
    assert validated.model_dump() == answer
    assert len(validated.predictions[0].top) == 3
    assert "x-cache" not in answer


def test_a_remembered_answer_is_computed_once(running: Any, png: Png) -> None:
    with running(cache_answers=10) as (state, client):
        runs = count_runs(state, "tiny-bn")
        first = post(client, png(IMAGES[0]), "?model=tiny-bn")
        again = post(client, png(IMAGES[0]), "?model=tiny-bn")
        assert [first.headers["x-cache"], again.headers["x-cache"]] == ["miss", "hit"]
        assert again.json()["predictions"] == first.json()["predictions"]
        assert runs == [1]
        assert 'foldnorm_cache_total{model="tiny-bn",outcome="hit"' in client.get("/metrics").text


def test_two_models_never_share_an_answer(running: Any, png: Png) -> None:
    with running(cache_answers=10) as (_, client):
        answers = [
            post(client, png(IMAGES[0]), f"?model={name}") for name in ("tiny-bn", "tiny-plain")
        ]
    assert [answer.headers["x-cache"] for answer in answers] == ["miss", "miss"]
    assert answers[0].json()["predictions"] != answers[1].json()["predictions"]


def test_the_shadow_counts_and_keeps_what_it_sees_differently(running: Any, png: Png) -> None:
    with running(shadow_fraction=1.0) as (state, client):
        state.shadow._random = Random(0)
        other = state.shadow.model()
        assert other is not None
        logits = np.zeros((1, 10), np.float32)
        primary = state.catalogue.default.session.run(IMAGES[:1]).logits.argmax()
        logits[0, (primary + 1) % 10] = 5.0
        object.__setattr__(other.session, "run", lambda images: Scores(logits, logits / 5))
        post(client, png(IMAGES[0]))
        client.run(state.shadow.close())
        text = client.get("/metrics").text
        report = client.get("/v1/shadow").json()
    assert f'outcome="compared",primary="{state.catalogue.default.name}"' in text
    assert "foldnorm_disagreements_total{" in text
    (recent,) = report["recent"]
    assert recent["primary"]["label"] != recent["shadow"]["label"]
    kept = Image.open(io.BytesIO(base64.b64decode(recent["image"].partition(",")[2])))
    assert (np.asarray(kept) == IMAGES[0]).all()


def test_no_shadow_runs_unless_asked_for_and_none_under_load(running: Any, png: Png) -> None:
    with running() as (state, client):
        runs = count_runs(state, state.shadow.model().name)
        post(client, png(IMAGES[0]))
        assert runs == []
    with running(shadow_fraction=1.0) as (state, client):
        other = state.shadow.model()
        runs = count_runs(state, other.name)

        async def burst() -> None:
            result = await state.classifier.classify(state.catalogue.default, IMAGES[:1])
            for _ in range(5):  # the first one runs, and the others come meanwhile
                state.shadow.offer(result)
            await state.shadow.close()

        client.run(burst())
        assert runs == [1]
        dropped = 'outcome="dropped"'
        line = next(row for row in client.get("/metrics").text.splitlines() if dropped in row)
        assert line.endswith(" 4.0")


def test_a_shadow_that_fails_harms_no_answer(running: Any, png: Png) -> None:
    with running(shadow_fraction=1.0) as (state, client):

        def refuse(*_: object) -> None:
            raise OverloadedError("full", 1.0)

        state.shadow.model().batcher.admit = refuse
        assert post(client, png(IMAGES[0])).status_code == 200


def test_the_tuning_shows_what_was_measured_and_chosen(running: Any) -> None:
    with running() as (state, client):
        document = client.get("/v1/tuning").json()
    assert document["threads"] == 1
    assert [entry["name"] for entry in document["models"]] == [
        model.name for model in state.catalogue.models
    ]
    for entry in document["models"]:
        assert all(row["milliseconds"] > 0 for row in entry["measured"])
        assert entry["part_images"] in (0, 1, 2, 4, 8, 16, 32, 64)


def test_who_has_an_answer_is_not_sent_it_again(running: Any) -> None:
    with running() as (_, client):
        first = client.get("/v1/models")
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = client.get("/v1/models", headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
        other = client.get("/v1/models", headers={"if-none-match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)
        missing = client.get("/v1/models/none")
        assert (missing.status_code, missing.headers.get("etag")) == (404, None)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?top_k=x", "query top_k = 'x' is no whole number"),
        ("?timeout_ms=0", "timeout_ms=0 leaves no time"),
        ("?timeout_ms=9999999999", "no whole number of at most 9 digits"),
        ("?top_k=11", "top_k=11 is out of range"),
    ],
)
def test_a_bad_query_is_named(running: Any, png: Png, query: str, said: str) -> None:
    with running() as (_, client):
        response = post(client, png(IMAGES[0]), query)
    assert response.status_code == 400
    assert said in response.json()["detail"]


def test_a_request_that_would_be_late_is_refused_before_its_body_is_read(running: Any) -> None:
    with running() as (state, client):
        batcher = state.catalogue.default.batcher
        batcher.queued_size, batcher._seconds_per_unit = 10, 0.1
        read = []

        async def body() -> Any:
            read.append(1)
            yield b"x"

        answer = client.post(
            "/v1/predict?timeout_ms=500", content=body(), headers={"content-type": "image/png"}
        )
        batcher.queued_size = 0
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "this request has" in answer.json()["detail"]
    assert read == []


def test_who_hangs_up_leaves_the_queue_and_harms_nobody(
    running: Any, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.cancellation.LISTEN_AFTER_S", 0.0)
    with running() as (state, client):
        model = state.catalogue.default
        content = png(IMAGES[0])

        async def scenario() -> tuple[list[int], Any]:
            gone = asyncio.Event()
            messages = [{"type": "http.request", "body": content, "more_body": False}]

            async def receive() -> Any:
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                statuses.append(message.get("status"))

            statuses: list[int] = []
            scope = {
                "type": "http",
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": "/v1/predict",
                "query_string": b"",
                "headers": [(b"content-type", b"image/png")],
                "state": {},
            }
            async with state.engine._turn:  # the engine is busy: everybody waits
                leaver = asyncio.create_task(client._app(scope, receive, send))
                blocker = asyncio.create_task(model.score(IMAGES[1:2]))
                for _ in range(5):
                    await asyncio.sleep(0.005)
                mate = asyncio.create_task(model.score(IMAGES[2:3]))
                await asyncio.sleep(0.005)
                gone.set()
                await leaver
                assert model.batcher.waiting == 1, "only the mate"
            await blocker
            return statuses, await mate

        _, outcome = client.run(scenario())
        expected = model.session.run(IMAGES[2:3]).logits
        assert np.allclose(outcome.scores.logits, expected, atol=1e-5)
        assert 'reason="CANCELED"' in client.get("/metrics").text
