"""What stands next to the path of a request: cache, shadow, tuning, entity tags, hang-ups."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.inference.session import Scores
from tests import synthetic
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

IMAGES = synthetic.random_images(5, 3)


def test_both_protocols_give_a_cached_answer_and_say_so(running: Any, png: Png) -> None:
    with running(cache_answers=10) as (state, client):
        first = client.post_image("/v1/predict?model=tiny-bn", png(IMAGES[0]))
        again = client.post_image("/v1/predict?model=tiny-bn", png(IMAGES[0]))
        header = {"Inference-Header-Content-Length": "0"}
        v2 = client.post("/v2/models/tiny-bn/infer", content=IMAGES[0].tobytes(), headers=header)
        runs = state.metrics.statistics("tiny-bn", "1.0.0").execution_count
    assert [one.headers["x-cache"] for one in (first, again, v2)] == ["miss", "hit", "hit"]
    assert again.json()["predictions"] == first.json()["predictions"]
    assert runs == 1


def test_an_answer_that_is_not_cached_has_no_header_of_it(client: AppClient, png: Png) -> None:
    assert "x-cache" not in client.post_image("/v1/predict", png(IMAGES[0])).headers


def test_the_shadow_counts_and_keeps_what_it_sees_differently(
    running: Any, answers_with: Any, png: Png
) -> None:
    with running(shadow_fraction=1.0) as (state, client):
        name = state.catalogue.default.name
        scores = state.catalogue.default.session.run(IMAGES[:1])
        other = np.roll(scores.logits, 1, axis=1)  # another class is the best
        answers_with(state, state.shadow.model().name, lambda _: Scores(other, other / 100))
        client.post_image("/v1/predict", png(IMAGES[0]))
        client.run(state.shadow.close())
        text = client.get("/metrics").text
        report = client.get("/v1/shadow").json()
    assert f'outcome="compared",primary="{name}"' in text
    assert "foldnorm_disagreements_total{" in text
    (recent,) = report["recent"]
    assert recent["primary"]["label"] != recent["shadow"]["label"]
    kept = Image.open(io.BytesIO(base64.b64decode(recent["image"].partition(",")[2])))
    assert (np.asarray(kept) == IMAGES[0]).all()


def test_the_tuning_shows_what_was_measured_and_chosen(client: AppClient) -> None:
    document = client.get("/v1/tuning").json()
    assert document["threads"] == 1
    names = [entry["name"] for entry in document["models"]]
    assert names == ["tiny-bn", "tiny-bn-unfolded", "tiny-plain"]
    for entry in document["models"]:
        assert all(row["milliseconds"] > 0 for row in entry["measured"])
        assert entry["part_images"] in (0, 1, 2, 4, 8, 16, 32, 64)


def test_who_has_an_answer_is_not_sent_it_again(client: AppClient) -> None:
    tag = client.get("/v1/models").headers["etag"]
    again = client.get("/v1/models", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/tiny-bn/infer"])
def test_a_full_queue_refuses_before_the_body_is_read(
    running: Any, engine_busy: Any, path: str
) -> None:
    sizes = {"max_images": 1, "max_batch_images": 1, "queue_capacity_images": 1}
    with running(**sizes) as (state, client):
        model = state.catalogue.default
        read = []

        async def body() -> Any:
            read.append(1)
            yield b"x"

        async def scenario() -> Any:
            async with engine_busy(state.engine):
                running = asyncio.create_task(model.score(IMAGES[:1]))
                await asyncio.sleep(0.01)
                waiting = asyncio.create_task(model.score(IMAGES[:1]))
                await asyncio.sleep(0)
                headers = {"content-type": "image/png"}
                answer = await client.http.post(path, content=body(), headers=headers)
            await asyncio.gather(running, waiting)
            return answer

        answer = client.run(scenario())
    assert answer.status_code == 503
    assert "images are waiting and this request brings 1" in answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert read == []


@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/tiny-bn/infer"])
def test_who_hangs_up_leaves_the_queue_and_harms_nobody(
    running: Any, engine_busy: Any, png: Png, path: str
) -> None:
    with running() as (state, client):
        model = state.catalogue.default
        body = png(IMAGES[0])
        if path.startswith("/v2"):
            tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}
            body = json.dumps({"inputs": [{**tensor, "data": IMAGES[0].ravel().tolist()}]}).encode()

        async def scenario() -> Any:
            gone = asyncio.Event()
            messages = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> Any:
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async with engine_busy(state.engine):
                first = asyncio.create_task(model.score(IMAGES[1:2]))
                await asyncio.sleep(0.01)
                leaver = asyncio.create_task(client.exchange(path, receive))
                await asyncio.sleep(0.01)
                mate = asyncio.create_task(model.score(IMAGES[2:3]))
                await asyncio.sleep(0)
                assert model.batcher.waiting == 2
                gone.set()
                await leaver
                assert model.batcher.waiting == 1, "only the mate"
            await first
            return await mate

        result = client.run(scenario())
        expected = model.session.run(IMAGES[2:3]).logits
        assert np.allclose(result.scores.logits, expected, atol=1e-5)
        assert 'reason="CANCELED"' in client.get("/metrics").text
