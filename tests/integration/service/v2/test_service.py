"""Every route and every error of `/v2` in the whole service, around real onnxruntime."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Golden
from service.api.v2.infer.route import BYTES_READ_ON_LOOP
from service.app import create_app
from service.errors import OverloadedError, ServiceError
from service.settings import Settings
from tests import synthetic
from tests.asgi_client import AppClient

Png = Callable[[NDArray[np.uint8]], bytes]

INFER = "/v2/models/tiny-bn/infer"
HEADER = "Inference-Header-Content-Length"
GOLDEN_TOLERANCE = 6.2e-5  # of the largest logit, as service.inference.startup_checks derives it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of tiny-bn, the newer one as everywhere, and tiny-plain."""
    folder = tmp_path_factory.mktemp("artifacts")
    synthetic.write_artifact(folder, "tiny-bn", norms=True, seed=2)
    synthetic.write_artifact(folder, "tiny-bn", norms=True, seed=3, version="0.9.0")
    synthetic.write_artifact(folder, "tiny-plain", norms=False, seed=1)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[AppClient]:
    with AppClient(create_app(Settings(artifacts=folder, threads=1))) as client:
        yield client


def in_json(images: NDArray[np.uint8], **more: Any) -> dict[str, Any]:
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    return {"inputs": [{**tensor, "data": images.ravel().tolist()}], **more}


def after_json(images: NDArray[np.uint8], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body with its pixels after the JSON, and the header that divides it."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(images.shape)}
    parameters = {"binary_data_size": images.nbytes}
    text = json.dumps({"inputs": [{**tensor, "parameters": parameters}], **more}).encode()
    return text + images.tobytes(), {HEADER: str(len(text))}


def infer(client: AppClient, images: NDArray[np.uint8], path: str = INFER) -> httpx.Response:
    body, headers = after_json(images)
    return client.post(path, content=body, headers=headers)


def outputs_of(response: httpx.Response) -> dict[str, NDArray[np.float32]]:
    """The tensors of an answer, from its JSON or from the bytes after it."""
    assert response.status_code == 200, response.text
    length = response.headers.get(HEADER)
    text = response.content if length is None else response.content[: int(length)]
    position, found = len(text), {}
    for output in json.loads(text)["outputs"]:
        if "data" in output:
            values = np.array(output["data"], np.float32)
        else:
            size = output["parameters"]["binary_data_size"]
            values = np.frombuffer(response.content[position : position + size], np.float32)
            position += size
        found[output["name"]] = values.reshape(output["shape"])
    assert position == len(response.content)
    return found


def check_logits(response: httpx.Response, golden: Golden) -> None:
    tolerance = GOLDEN_TOLERANCE * np.abs(golden.logits).max()
    found = outputs_of(response)["logits"]
    assert np.abs(found - golden.logits).max() <= tolerance
    assert np.abs(found - golden.logits[::-1]).max() > 100 * tolerance


def check_error(response: httpx.Response, status: int, finding: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert finding in body["error"]


def failures(client: AppClient, reason: str) -> float:
    sample = f'nv_inference_request_failure{{model="tiny-bn",reason="{reason}",version="1.0.0"}} '
    text = client.get("/metrics").text
    return sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(sample))


def test_the_server_and_its_models_are_alive_and_ready(client: AppClient) -> None:
    for path in ("/v2", "/v2/"):
        assert client.get(path).json()["name"] == "foldnorm"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    names = ["tiny-bn", "tiny-bn-unfolded", "tiny-plain"]
    assert client.get("/v2/models").json() == {"models": names}


@pytest.mark.parametrize("version", ["", "/versions/1.0.0"])
def test_a_model_has_metadata_configuration_and_readiness(client: AppClient, version: str) -> None:
    base = f"/v2/models/tiny-bn{version}"
    assert client.get(base).json()["versions"] == ["1.0.0", "0.9.0"]
    assert client.get(f"{base}/config").json()["backend"] == "onnxruntime"
    ready = {"name": "tiny-bn", "version": "1.0.0", "ready": True}
    assert client.get(f"{base}/ready").json() == ready


@pytest.mark.parametrize("rest", ["", "/config", "/ready", "/stats", "/infer"])
@pytest.mark.parametrize("model", ["nobody", "tiny-bn/versions/7", "tiny-bn@1.0.0/versions/1.0.0"])
def test_an_unknown_model_or_version_is_404(client: AppClient, model: str, rest: str) -> None:
    method = "POST" if rest == "/infer" else "GET"
    response = client.request(method, f"/v2/models/{model}{rest}")
    check_error(response, 404, "served are tiny-bn, tiny-bn-unfolded")


def test_the_answer_is_that_of_v1(client: AppClient, png: Png, images: NDArray[np.uint8]) -> None:
    for model in ("tiny-bn", "tiny-bn-unfolded", "tiny-plain"):
        response = infer(client, images[:1], f"/v2/models/{model}/infer")
        found = outputs_of(response)["probabilities"]
        v1 = client.post_image(f"/v1/predict?model={model}&top_k=10", png(images[0])).json()
        expected = {one["index"]: one["probability"] for one in v1["predictions"][0]["top"]}
        assert found[0].tolist() == [float(np.float32(expected[index])) for index in range(10)]


@pytest.mark.parametrize("binary_output", [True, False])
@pytest.mark.parametrize("form", ["JSON", "pixels after JSON", "files after JSON"])
def test_every_form_is_answered_in_the_form_that_is_asked_for(
    client: AppClient, golden: Golden, png: Png, form: str, binary_output: bool
) -> None:
    more = {"parameters": {"binary_data_output": binary_output}, "id": "mine"}
    body, headers = after_json(golden.images, **more)
    if form == "JSON":
        body, headers = json.dumps(in_json(golden.images, **more)).encode(), {}
    elif form == "files after JSON":
        files = [png(image) for image in golden.images]
        tensor = {"name": "image", "datatype": "BYTES", "shape": [len(files)]}
        text = json.dumps({"inputs": [tensor], **more}).encode()
        headers = {HEADER: str(len(text))}
        body = text + b"".join(len(one).to_bytes(4, "little") + one for one in files)
    response = client.post(INFER, content=body, headers=headers)
    check_logits(response, golden)
    assert (HEADER in response.headers) == binary_output
    kind = "application/octet-stream" if binary_output else "application/json"
    assert response.headers["content-type"] == kind
    table = json.loads(response.content[: int(response.headers.get(HEADER, 10**9))])
    said = (table["model_name"], table["model_version"], table["id"])
    assert said == ("tiny-bn", "1.0.0", "mine")


def test_the_version_that_was_asked_answers(client: AppClient, images: NDArray[np.uint8]) -> None:
    newer, older = (
        infer(client, images, f"/v2/models/tiny-bn/versions/{version}/infer")
        for version in ("1.0.0", "0.9.0")
    )
    assert [one.json()["model_version"] for one in (newer, older)] == ["1.0.0", "0.9.0"]
    assert not np.array_equal(outputs_of(newer)["logits"], outputs_of(older)["logits"])


def test_an_id_comes_back_and_is_otherwise_that_of_the_request(
    client: AppClient, images: NDArray[np.uint8]
) -> None:
    for given in ("", "é\n\u0000", "x" * 5_000):
        assert client.post(INFER, json=in_json(images[:1], id=given)).json()["id"] == given
    response = client.post(INFER, json=in_json(images[:1]), headers={"x-request-id": "abc"})
    assert response.json()["id"] == "abc"


class CountingExecutor(ThreadPoolExecutor):
    calls = 0

    def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
        self.calls += 1
        return super().submit(*arguments, **options)


def test_large_json_is_read_in_a_thread_and_keeps_the_event_loop_free(
    client: AppClient, images: NDArray[np.uint8]
) -> None:
    many = np.concatenate([images] * 8)
    large, small = (json.dumps(in_json(one)).encode() for one in (many, images[:1]))
    assert len(small) < BYTES_READ_ON_LOOP < len(large)

    async def count() -> list[int]:
        executor = CountingExecutor(1)
        asyncio.get_running_loop().set_default_executor(executor)
        calls = []
        for body in (small, large):
            assert (await client.http.post(INFER, content=body)).status_code == 200
            calls.append(executor.calls)
        return calls

    assert client.run(count()) == [0, 1]


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_requests_and_answers_may_be_compressed(
    client: AppClient, golden: Golden, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body, headers = after_json(golden.images, parameters={"binary_data_output": True})
    headers |= {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    response = client.post(INFER, content=pack(body), headers=headers)
    assert response.headers["content-encoding"] == encoding
    assert "accept-encoding" in response.headers["vary"].lower()
    check_logits(response, golden)  # httpx has inflated it, and the header counts what came out


def test_nothing_is_compressed_for_those_who_do_not_ask_and_no_document_is(
    client: AppClient, images: NDArray[np.uint8]
) -> None:
    plain = client.post(INFER, json=in_json(images), headers={"Accept-Encoding": "identity"})
    documents = [
        client.get(path, headers={"Accept-Encoding": "gzip"})
        for path in ("/v2", "/v2/models", "/v2/models/nobody")
    ]
    for response in (plain, *documents):
        assert "content-encoding" not in response.headers


def test_a_bomb_is_413_and_what_it_held_is_given_back(
    running: Any, images: NDArray[np.uint8]
) -> None:
    with running(max_body_bytes=50_000, max_held_bytes=60_000) as (state, client):
        bomb = gzip.compress(bytes(10_000_000))
        response = client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
        check_error(response, 413, "inflate to more than 50,000")
        check_error(client.post(INFER, content=bytes(50_001)), 413, "at most 50,000 are taken")
        body, headers = after_json(images)
        headers["Content-Encoding"] = "gzip"
        packed = gzip.compress(body)
        assert client.post(INFER, content=packed, headers=headers).status_code == 200
        assert state.admission.held_bytes == 0
        state.admission.hold(40_000)  # what other requests hold
        response = client.post(INFER, content=packed, headers=headers)
        check_error(response, 503, "at most 60,000 are held")
        assert state.admission.held_bytes == 40_000


BAD_FILE = b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]}'
SHARED = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}
REFUSED = {
    "no JSON": (b"{", {}, 400, "cannot be read"),
    "no image": (BAD_FILE + b"text", {HEADER: str(len(BAD_FILE))}, 400, "no image that can be"),
    "encoding": (b"x", {"Content-Encoding": "br"}, 400, "content encoding 'br' is not taken"),
    "shared memory": (
        json.dumps({"inputs": [{**SHARED, "parameters": {"shared_memory_region": "a"}}]}).encode(),
        {},
        501,
        "shared memory, which is not served",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_has_its_status_and_is_counted_as_other(client: AppClient, case: str) -> None:
    body, headers, status, finding = REFUSED[case]
    before = failures(client, "OTHER")
    check_error(client.post(INFER, content=body, headers=headers), status, finding)
    assert failures(client, "OTHER") == before + 1
    assert f'route="/v2/models/{{name}}/infer",status="{status}"' in client.get("/metrics").text


def test_a_request_shows_in_the_statistics_of_its_version_and_in_the_metrics(
    client: AppClient, images: NDArray[np.uint8]
) -> None:
    def counted(path: str) -> dict[str, int]:
        entries = client.get(f"/v2/models/{path}stats").json()["model_stats"]
        return {f"{one['name']} {one['version']}": one["inference_count"] for one in entries}

    before = counted("")
    assert set(before) == {
        *("tiny-bn 1.0.0", "tiny-bn 0.9.0", "tiny-plain 1.0.0"),
        *("tiny-bn-unfolded 1.0.0", "tiny-bn-unfolded 0.9.0"),
    }
    infer(client, images, "/v2/models/tiny-bn/versions/0.9.0/infer")
    after = before | {"tiny-bn 0.9.0": before["tiny-bn 0.9.0"] + len(images)}
    assert counted("") == after
    assert set(counted("tiny-bn/")) == {"tiny-bn 1.0.0", "tiny-bn 0.9.0"}
    assert set(counted("tiny-bn/versions/0.9.0/")) == {"tiny-bn 0.9.0"}
    route = 'route="/v2/models/{name}/versions/{version}/infer",status="200"'
    assert route in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/models/tiny-bn/", "/v2x", "/v1/nothing"])
def test_only_v2_has_the_errors_of_the_protocol(client: AppClient, path: str) -> None:
    response = client.get(path)
    if path.startswith("/v2/"):
        check_error(response, 404, "GET /v2 names what is")
    else:
        assert (response.status_code, "type" in response.json()) == (404, True)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", INFER, "POST"),
        ("POST", "/v2", "GET, HEAD"),
        ("DELETE", "/v2/models/tiny-bn", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_one(
    client: AppClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    check_error(response, 405, f"use {allowed}")
    assert response.headers["allow"] == allowed


def test_a_timeout_of_the_request_is_kept_and_raises_no_limit_of_the_server(
    running: Any, engine_busy: Any, images: NDArray[np.uint8]
) -> None:
    with running(deadline_ms=300) as (state, client):

        async def scenario() -> list[httpx.Response]:
            async with engine_busy(state.engine):
                return [
                    await client.http.post(INFER, json=in_json(images, parameters=parameters))
                    for parameters in ({"timeout": 20_000}, {"timeout": 60_000_000})
                ]

        own, servers = client.run(scenario())
        check_error(own, 503, "no answer within 20 ms")
        check_error(servers, 503, "no answer within")
        assert failures(client, "REJECTED") == 2
        patient = client.post(INFER, json=in_json(images, parameters={"timeout": 9_000_000}))
        assert patient.status_code == 200


def test_failures_of_a_model_have_their_status_and_reveal_nothing(
    running: Any, answers_with: Any, images: NDArray[np.uint8]
) -> None:
    with running() as (state, client):
        for error, status, reason in (
            (OverloadedError("512 images are waiting", 2.3), 503, "REJECTED"),
            (RuntimeError("the weights are at /secret/path"), 500, "BACKEND"),
            (ServiceError("an inner detail of /secret/path"), 500, "OTHER"),
        ):

            def fail(_images: Any, error: Exception = error) -> Any:
                raise error

            answers_with(state, "tiny-bn", fail)
            response = client.post(INFER, json=in_json(images[:1]))
            check_error(response, status, "the server failed" if status == 500 else str(error))
            assert response.headers.get("retry-after") == ("3" if status == 503 else None)
            assert "secret" not in response.text
            assert failures(client, reason) == 1


def test_a_caller_that_hangs_up_before_its_body_ends_is_counted(running: Any) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    with running() as (_, client):
        sent = client.run(client.exchange(INFER, receive))
        assert sent[0]["status"] == 400
        assert failures(client, "CANCELED") == 1


def test_the_repository_lists_unloads_and_loads(running: Any, images: NDArray[np.uint8]) -> None:
    path = "/v2/models/tiny-plain/infer"

    def listed(body: bytes) -> dict[str, str]:
        entries = client.post("/v2/repository/index", content=body).json()
        return {entry["name"]: entry["state"] for entry in entries}

    with running() as (_, client):
        before = outputs_of(infer(client, images, path))["logits"]
        assert client.post("/v2/repository/models/tiny-plain/unload").status_code == 200
        assert infer(client, images, path).status_code == 404
        for body in (b"", b"{}", b'{"ready": false}'):
            assert listed(body)["tiny-plain"] == "UNAVAILABLE"
            assert listed(body)["tiny-bn"] == "READY"
        assert set(listed(b'{"ready": true}')) == {"tiny-bn", "tiny-bn-unfolded"}
        options = {"parameters": {"unload_dependents": False}}
        assert client.post("/v2/repository/models/tiny-plain/load", json=options).status_code == 200
        assert np.array_equal(outputs_of(infer(client, images, path))["logits"], before)


@pytest.mark.parametrize(
    ("path", "body", "status", "finding"),
    [
        ("index", b"[]", 400, "the JSON is a list"),
        ("index", b"{", 400, "cannot be read"),
        ("index", b'{"ready": 1}', 400, "ready is 1"),
        ("models/nobody/load", b"", 400, "serves a model 'nobody'"),
        ("models/nobody/unload", b"", 400, "no model 'nobody'"),
        ("models/tiny-bn/load", b'{"parameters": {"config": "e30="}}', 501, "'config' is not"),
        ("models/tiny-bn/load", b'{"parameters": {"file:1/a.onnx": ""}}', 501, "'file:1/a.onnx'"),
    ],
)
def test_what_the_repository_does_not_do_is_refused(
    client: AppClient, path: str, body: bytes, status: int, finding: str
) -> None:
    check_error(client.post(f"/v2/repository/{path}", content=body), status, finding)
