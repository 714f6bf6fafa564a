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


def test_an_error_arrives_with_its_message(url: str, images: NDArray[np.uint8]) -> None:
    with pytest.raises(InferenceServerException, match=r"no model 'nobody' is served") as info:
        ask(url, lambda client: client.infer("nobody", [tensor(images)]))
    assert info.value.status() == "404"
