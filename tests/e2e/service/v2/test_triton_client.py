"""The real `tritonclient`, as it comes, against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from models.bundle import Bundle

Client = triton.InferenceServerClient

Png = Callable[[NDArray[np.uint8]], bytes]

SECONDS = 30
MODELS = ("keras-bn", "keras-bn-unfolded", "keras-baseline")
OUTPUTS = ("logits", "probabilities")


def connect(url: str) -> Client:
    return Client(url.removeprefix("http://"), connection_timeout=SECONDS, network_timeout=SECONDS)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    client = connect(url)
    yield client
    client.close()


def tensor(images: NDArray[np.uint8], *, binary: bool = True) -> triton.InferInput:
    return triton.InferInput("image", images.shape, "UINT8").set_data_from_numpy(images, binary)


def outputs(*, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]


def v1_probabilities(url: str, model: str, content: bytes) -> NDArray[np.float32]:
    """What `/v1/predict` says of one image, by class."""
    response = httpx.post(
        f"{url}/v1/predict?model={model}&top_k=10",
        content=content,
        headers={"content-type": "image/png"},
        timeout=SECONDS,
    )
    (prediction,) = response.json()["predictions"]
    by_index = {label["index"]: label["probability"] for label in prediction["top"]}
    return np.array([[by_index[index] for index in range(10)]], np.float32)


def test_the_server_and_its_models_describe_themselves(client: Client, bundle: Bundle) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    states = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert dict.fromkeys(MODELS, "READY").items() <= states.items()
    for version in ("", bundle.version):
        assert client.is_model_ready("keras-bn", version)
        (given,) = client.get_model_metadata("keras-bn", version)["inputs"]
        shape = [-1, *bundle.manifest.input.image_shape]
        assert given == {"name": "image", "datatype": "UINT8", "shape": shape}
        assert client.get_model_config("keras-bn", version)["max_batch_size"] == 64
    assert not client.is_model_ready("keras-bn", "9.9.9")


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
def test_every_form_gives_the_answer_of_v1(
    client: Client,
    url: str,
    png: Png,
    bundle: Bundle,
    images: NDArray[np.uint8],
    binary_input: bool,
    binary_output: bool | None,
    encoding: str | None,
) -> None:
    """`None` names no outputs: the client then asks for all of them, binary."""
    for model in MODELS if encoding is None else MODELS[:1]:
        result = client.infer(
            model,
            [tensor(images[:1], binary=binary_input)],
            outputs=None if binary_output is None else outputs(binary=binary_output),
            request_id="mine",
            model_version=bundle.version if model == "keras-bn" else "",
            request_compression_algorithm=encoding,
            response_compression_algorithm=encoding,
        )
        probabilities = result.as_numpy("probabilities")
        assert probabilities.dtype == np.float32
        assert np.array_equal(probabilities, v1_probabilities(url, model, png(images[0])))
        assert not np.array_equal(probabilities, v1_probabilities(url, model, png(images[1])))
        answer = result.get_response()
        assert (answer["id"], answer["model_name"]) == ("mine", model)


def test_image_files_give_the_answer_of_their_pixels(
    client: Client, png: Png, images: NDArray[np.uint8]
) -> None:
    files = np.array([png(image) for image in images], np.object_)
    given = triton.InferInput("image", files.shape, "BYTES").set_data_from_numpy(files)
    found = client.infer("keras-bn", [given]).as_numpy("logits")
    assert np.array_equal(found, client.infer("keras-bn", [tensor(images)]).as_numpy("logits"))


def test_many_requests_at_once_each_get_their_own_answer(
    client: Client, images: NDArray[np.uint8]
) -> None:
    alone = [client.infer("keras-bn", [tensor(images[i : i + 1])]) for i in range(len(images))]
    pending = [
        client.async_infer("keras-bn", [tensor(images[i : i + 1])]) for i in range(len(images))
    ]
    for request, expected in zip(pending, alone, strict=True):
        # Neighbours in a batch change the last bits; another image changes the first digits.
        error = request.get_result().as_numpy("logits") - expected.as_numpy("logits")
        assert np.abs(error).max() < 1e-3
    difference = alone[0].as_numpy("logits") - alone[1].as_numpy("logits")
    assert np.abs(difference).max() > 0.1


ERRORS = {
    "unknown model": (
        lambda client, images: client.infer("nobody", [tensor(images)]),
        "404",
        r"no model 'nobody' is served",
    ),
    "late": (
        lambda client, images: client.infer("keras-bn", [tensor(images)], timeout=1),
        "503",
        r"no answer within 0.001 ms",
    ),
    "shared memory": (
        lambda client, _: client.get_system_shared_memory_status(),
        "404",
        r"nothing is served under '/v2/systemsharedmemory",
    ),
    "a configuration of the caller's": (
        lambda client, _: client.load_model("keras-bn", config="{}"),
        "501",
        r"'config' is not served",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_arrives_with_its_message(
    client: Client, images: NDArray[np.uint8], case: str
) -> None:
    call, status, finding = ERRORS[case]
    with pytest.raises(InferenceServerException, match=finding) as info:
        call(client, images)
    assert info.value.status() == status


def test_a_model_is_unloaded_and_loaded_again(own_url: str) -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    client = connect(own_url)
    try:
        client.unload_model("tiny-plain")
        assert not client.is_model_ready("tiny-plain")
        with pytest.raises(InferenceServerException, match=r"no model 'tiny-plain' is served"):
            client.infer("tiny-plain", [tensor(image)])
        assert client.is_model_ready("tiny-bn")
        client.load_model("tiny-plain")
        assert client.is_model_ready("tiny-plain")
        assert client.infer("tiny-plain", [tensor(image)]).as_numpy("logits").shape == (1, 10)
    finally:
        client.close()
