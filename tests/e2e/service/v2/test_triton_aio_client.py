"""The real asyncio client of `tritonclient` against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from models.bundle import Bundle

SECONDS = 30


def ask(url: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run some calls of a client of their own."""

    async def run() -> Any:
        address = url.removeprefix("http://")
        async with triton_aio.InferenceServerClient(address, conn_timeout=SECONDS) as client:
            return await work(client)

    return asyncio.run(run())


def tensor(images: NDArray[np.uint8], *, binary: bool = True) -> triton.InferInput:
    return triton.InferInput("image", images.shape, "UINT8").set_data_from_numpy(images, binary)


def test_the_server_and_its_models_describe_themselves(url: str, bundle: Bundle) -> None:
    """The client accepts compressed documents and cannot read them: they must come as they are."""

    async def work(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("keras-bn", bundle.version)
        assert (await client.get_server_metadata())["name"] == "foldnorm"
        assert (await client.get_model_metadata("keras-bn"))["platform"] == "onnx_onnxv1"
        assert (await client.get_model_config("keras-bn"))["backend"] == "onnxruntime"
        assert len(await client.get_model_repository_index()) >= 3
        assert (await client.get_inference_statistics("keras-bn"))["model_stats"]

    ask(url, work)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_every_form_gives_the_answer_of_the_sync_client(
    url: str, images: NDArray[np.uint8], binary: bool, encoding: str | None
) -> None:
    outputs = [triton.InferRequestedOutput("logits", binary_data=binary)]
    result = ask(
        url,
        lambda client: client.infer(
            "keras-bn",
            [tensor(images, binary=binary)],
            outputs=outputs,
            request_id="mine",
            request_compression_algorithm=encoding,
            response_compression_algorithm=encoding,
        ),
    )
    sync = triton.InferenceServerClient(url.removeprefix("http://"), network_timeout=SECONDS)
    expected = sync.infer("keras-bn", [tensor(images)]).as_numpy("logits")
    sync.close()
    assert np.array_equal(result.as_numpy("logits"), expected)
    assert not np.array_equal(result.as_numpy("logits"), expected[::-1])
    assert result.get_response()["id"] == "mine"


def test_requests_at_once_each_get_their_own_answer(url: str, images: NDArray[np.uint8]) -> None:
    async def work(client: Any) -> None:
        parts = [images[i : i + 1] for i in range(len(images))]
        alone = [await client.infer("keras-bn", [tensor(part)]) for part in parts]
        together = await asyncio.gather(
            *(client.infer("keras-bn", [tensor(part)]) for part in parts)
        )
        for one, expected in zip(together, alone, strict=True):
            # Neighbours in a batch change the last bits; another image changes the first digits.
            error = one.as_numpy("logits") - expected.as_numpy("logits")
            assert np.abs(error).max() < 1e-3
        difference = alone[0].as_numpy("logits") - alone[1].as_numpy("logits")
        assert np.abs(difference).max() > 0.1

    ask(url, work)


def test_a_classification_names_the_class_of_the_image(url: str, images: NDArray[np.uint8]) -> None:
    asked = [triton.InferRequestedOutput("logits", class_count=1)]
    result = ask(url, lambda client: client.infer("keras-bn", [tensor(images)], outputs=asked))
    logits = ask(url, lambda client: client.infer("keras-bn", [tensor(images)]))
    named = [int(text.decode().split(":")[1]) for text in result.as_numpy("logits")[:, 0]]
    assert named == logits.as_numpy("logits").argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("call", "status", "finding"),
    [
        (lambda c, i: c.infer("nobody", [tensor(i)]), "404", r"no model 'nobody' is served"),
        (lambda c, i: c.infer("keras-bn", [tensor(i)], timeout=-1), "400", r"the timeout is -1"),
        (
            lambda c, _: c.infer(
                "keras-bn", [tensor(np.zeros((64, 32, 32, 3), np.uint8))], timeout=1_000
            ),
            "503",
            r"no answer within 1 ms",
        ),
        (lambda c, _: c.get_log_settings(), "404", r"nothing is served under '/v2/logging'"),
        (lambda c, _: c.unload_model("nobody"), "400", r"nobody"),
    ],
)
def test_an_error_arrives_with_its_message(
    url: str, images: NDArray[np.uint8], call: Any, status: str, finding: str
) -> None:
    with pytest.raises(InferenceServerException, match=finding) as info:
        ask(url, lambda client: call(client, images))
    assert info.value.status() == status


def test_a_model_is_unloaded_and_loaded_again(own_url: str) -> None:
    async def work(client: Any) -> None:
        await client.unload_model("tiny-plain")
        assert not await client.is_model_ready("tiny-plain")
        await client.load_model("tiny-plain")
        assert await client.is_model_ready("tiny-plain")

    ask(own_url, work)
