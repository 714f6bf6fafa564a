"""Every route and every error of `/v2`, around fake models."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import BundleError
from service import errors
from service.api.v2.infer import route
from service.api.v2.infer.request import read_infer_request
from service.api.v2.infer.route import BYTES_READ_ON_LOOP
from service.api.v2.responses import STATUSES, UnsupportedFeatureError, status_of
from tests.asgi_client import AppClient
from tests.v2_fakes import State, Watched, load_fake_state, scores_of

INFER = "/v2/models/tiny-bn/infer"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
SCORES = scores_of(IMAGES)
HEADER = "Inference-Header-Content-Length"


def request_body(**more: Any) -> dict[str, Any]:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [3, 32, 32, 3]}
    return {"inputs": [{**tensor, "data": IMAGES.ravel().tolist()}], **more}


def binary_body(**more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the header that divides it."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [3, 32, 32, 3]}
    parameters = {"binary_data_size": IMAGES.nbytes}
    text = json.dumps({"inputs": [{**tensor, "parameters": parameters}], **more}).encode()
    return text + IMAGES.tobytes(), {HEADER: str(len(text))}


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


def check_scores(response: httpx.Response) -> None:
    outputs = outputs_of(response)
    assert np.array_equal(outputs["logits"], SCORES.logits)
    assert np.array_equal(outputs["probabilities"], SCORES.probabilities)


def check_error(response: httpx.Response, status: int, finding: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert finding in body["error"]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_names_itself_and_its_extensions(client: AppClient, path: str) -> None:
    body = client.get(path).json()
    assert body["name"] == "foldnorm"
    assert {"binary_tensor_data", "statistics", "model_configuration"} <= set(body["extensions"])


def test_liveness_and_readiness_have_the_fields_that_clients_read(client: AppClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}


def test_a_server_whose_models_fail_is_not_ready(client: AppClient, state: State) -> None:
    state.readiness.error = errors.ModelRefusedError("tiny-bn is not ready: it is wrong")
    response = client.get("/v2/health/ready")
    check_error(response, 503, "it is wrong")
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/v2/health/live").status_code == 200


def test_a_draining_server_is_alive_and_takes_nothing(client: AppClient, state: State) -> None:
    state.admission.start_draining()
    assert client.get("/v2/health/live").status_code == 200
    for response in (
        client.get("/v2/health/ready"),
        client.get("/v2/models/tiny-bn/ready"),
        client.post(INFER, json=request_body()),
    ):
        check_error(response, 503, "about to stop")
        assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("version", ["", "/versions/1.0.0"])
def test_a_model_has_metadata_configuration_and_readiness(client: AppClient, version: str) -> None:
    base = f"/v2/models/tiny-bn{version}"
    assert client.get(base).json()["versions"] == ["1.0.0", "0.9.0"]
    assert client.get(f"{base}/config").json()["backend"] == "onnxruntime"
    ready = {"name": "tiny-bn", "version": "1.0.0", "ready": True}
    assert client.get(f"{base}/ready").json() == ready


def test_the_models_are_listed(client: AppClient) -> None:
    assert client.get("/v2/models").json() == {"models": ["tiny-bn", "tiny-bn-unfolded"]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v2/models/stats", ["tiny-bn 1.0.0", "tiny-bn-unfolded 1.0.0", "tiny-bn 0.9.0"]),
        ("/v2/models/tiny-bn/stats", ["tiny-bn 1.0.0", "tiny-bn 0.9.0"]),
        ("/v2/models/tiny-bn/versions/0.9.0/stats", ["tiny-bn 0.9.0"]),
    ],
)
def test_statistics_are_of_one_version_or_of_all(
    client: AppClient, path: str, found: list[str]
) -> None:
    entries = client.get(path).json()["model_stats"]
    assert [f"{entry['name']} {entry['version']}" for entry in entries] == found
    assert entries[0]["inference_count"] == 7


@pytest.mark.parametrize("rest", ["", "/config", "/ready", "/stats", "/infer"])
@pytest.mark.parametrize("model", ["nobody", "tiny-bn/versions/7", "tiny-bn@1.0.0/versions/1.0.0"])
def test_an_unknown_model_or_version_is_404(client: AppClient, model: str, rest: str) -> None:
    method = "POST" if rest == "/infer" else "GET"
    response = client.request(method, f"/v2/models/{model}{rest}")
    check_error(response, 404, "served are tiny-bn, tiny-bn-unfolded")


def test_json_is_answered_with_json(client: AppClient) -> None:
    response = client.post(INFER, json=request_body(id="mine"))
    check_scores(response)
    assert response.headers["content-type"] == "application/json"
    assert HEADER not in response.headers
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny-bn", "1.0.0", "mine")


def test_large_json_is_answered_and_keeps_the_event_loop_free(client: AppClient) -> None:
    many = np.concatenate([IMAGES] * 21)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(many.shape)}
    body = json.dumps({"inputs": [{**tensor, "data": many.tolist()}]}).encode()
    assert len(body) > BYTES_READ_ON_LOOP
    threads = []

    def read(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return read_infer_request(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(route, "read_infer_request", read)
        found = outputs_of(client.post(INFER, content=body))["logits"]
        client.post(INFER, json=request_body())
    assert np.array_equal(found, scores_of(many).logits)
    assert [thread is threading.main_thread() for thread in threads] == [False, True]


def test_an_answer_without_an_id_has_that_of_the_request(client: AppClient) -> None:
    response = client.post(INFER, json=request_body(), headers={"x-request-id": "abc"})
    assert response.json()["id"] == "abc"


@pytest.mark.parametrize("given", ["", "é\n\u0000", "x" * 5_000])
def test_an_id_comes_back_as_it_was(client: AppClient, given: str) -> None:
    assert client.post(INFER, json=request_body(id=given)).json()["id"] == given


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0"])
def test_the_version_that_was_asked_answers(client: AppClient, state: State, version: str) -> None:
    response = client.post(f"/v2/models/tiny-bn/versions/{version}/infer", json=request_body())
    assert response.json()["model_version"] == version
    assert len(state.older.seen) == (version == "0.9.0")


def test_bytes_are_answered_with_bytes_where_they_are_asked_for(client: AppClient) -> None:
    body, headers = binary_body(parameters={"binary_data_output": True})
    response = client.post(INFER, content=body, headers=headers)
    check_scores(response)
    assert response.headers["content-type"] == "application/octet-stream"
    assert b'"data":' not in response.content


def test_bytes_are_answered_with_json_otherwise(client: AppClient) -> None:
    body, headers = binary_body()
    response = client.post(INFER, content=body, headers=headers)
    check_scores(response)
    assert HEADER not in response.headers


def test_a_tensor_alone_is_answered_with_bytes(client: AppClient) -> None:
    response = client.post(INFER, content=IMAGES.tobytes(), headers={HEADER: "0"})
    check_scores(response)
    assert HEADER in response.headers


def test_image_files_are_decoded(
    client: AppClient, png: Callable[[NDArray[np.uint8]], bytes]
) -> None:
    files = b"".join(len(content).to_bytes(4, "little") + content for content in map(png, IMAGES))
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3]}
    text = json.dumps({"inputs": [tensor]}).encode()
    check_scores(client.post(INFER, content=text + files, headers={HEADER: str(len(text))}))


def test_a_file_that_is_no_image_is_refused(client: AppClient) -> None:
    text = b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}]}'
    response = client.post(INFER, content=text + b"text", headers={HEADER: str(len(text))})
    check_error(response, 400, "no image that can be decoded")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_request_is_answered(client: AppClient, encoding: str) -> None:
    body, headers = binary_body()
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}[encoding](body)
    response = client.post(INFER, content=packed, headers={**headers, "Content-Encoding": encoding})
    check_scores(response)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_answer_is_compressed_and_its_header_counts_what_it_inflates_to(
    client: AppClient, encoding: str
) -> None:
    body, headers = binary_body(parameters={"binary_data_output": True})
    headers["Accept-Encoding"] = encoding
    response = client.post(INFER, content=body, headers=headers)
    assert response.headers["content-encoding"] == encoding
    assert "accept-encoding" in response.headers["vary"].lower()
    check_scores(response)  # httpx has inflated it


def test_an_answer_is_not_compressed_unless_it_is_asked_for(client: AppClient) -> None:
    response = client.post(INFER, json=request_body(), headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("path", ["/v2", "/v2/models", "/v2/models/nobody"])
def test_documents_and_errors_are_never_compressed(client: AppClient, path: str) -> None:
    response = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers


def test_an_unknown_encoding_is_400(client: AppClient) -> None:
    response = client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})
    check_error(response, 400, "content encoding 'br' is not taken")


def test_a_bomb_is_413_and_what_it_held_is_given_back(artifacts: Path) -> None:
    state = load_fake_state(artifacts, max_body_bytes=50_000)
    with AppClient(Watched(state)) as client:
        bomb = gzip.compress(bytes(10_000_000))
        assert len(bomb) < 50_000
        response = client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
        check_error(response, 413, "inflate to more than 50,000")
        body, headers = binary_body()
        packed = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
        check_scores(client.post(INFER, content=packed, headers=headers))
    assert state.admission.held_bytes == 0


def test_inflated_bytes_count_among_those_that_are_held(artifacts: Path) -> None:
    state = load_fake_state(artifacts, max_body_bytes=20_000, max_held_bytes=20_000)
    state.admission.hold(15_000)  # what other requests hold
    body, headers = binary_body()
    with AppClient(Watched(state)) as client:
        headers["Content-Encoding"] = "gzip"
        response = client.post(INFER, content=gzip.compress(body), headers=headers)
    check_error(response, 503, "at most 20,000 are held")
    assert state.admission.held_bytes == 15_000


def test_a_body_beyond_the_limit_is_413(artifacts: Path) -> None:
    with AppClient(Watched(load_fake_state(artifacts, max_body_bytes=1_000))) as client:
        response = client.post(INFER, content=bytes(1_001), headers={HEADER: "0"})
    check_error(response, 413, "at most 1,000 are taken")


def test_a_classification_is_answered_with_labels(client: AppClient) -> None:
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    (output,) = client.post(INFER, json=request_body(outputs=outputs)).json()["outputs"]
    assert output["shape"] == [3, 2]
    indices = [int(text.split(":")[1]) for text in output["data"][::2]]
    assert indices == SCORES.logits.argmax(axis=1).tolist()


def test_shared_memory_is_501(client: AppClient) -> None:
    body = request_body()
    body["inputs"][0]["parameters"] = {"shared_memory_region": "a"}
    check_error(client.post(INFER, json=body), 501, "shared memory, which is not served")


def test_a_timeout_of_the_request_is_kept(client: AppClient, state: State) -> None:
    state.model.seconds = 5
    response = client.post(INFER, json=request_body(parameters={"timeout": 20_000}))
    check_error(response, 503, "no answer within 20 ms")
    assert state.model.metrics.failures == ["REJECTED"]


def test_a_timeout_beyond_the_limit_of_the_server_does_not_raise_it(artifacts: Path) -> None:
    state = load_fake_state(artifacts, deadline_ms=20)
    state.model.seconds = 5
    with AppClient(Watched(state)) as client:
        response = client.post(INFER, json=request_body(parameters={"timeout": 60_000_000}))
    check_error(response, 503, "no answer within")


def test_a_timeout_that_is_long_enough_changes_nothing(client: AppClient) -> None:
    check_scores(client.post(INFER, json=request_body(parameters={"timeout": 9_000_000})))


def test_an_overload_says_when_to_come_back(client: AppClient, state: State) -> None:
    state.model.error = errors.OverloadedError("512 images are waiting", 2.3)
    response = client.post(INFER, json=request_body())
    check_error(response, 503, "512 images are waiting")
    assert response.headers["retry-after"] == "3"
    assert state.model.metrics.failures == ["REJECTED"]


def test_a_full_queue_refuses_before_the_body_is_read(client: AppClient, state: State) -> None:
    state.model.full = errors.OverloadedError("the queue is full", 1.0)

    async def endless() -> Any:
        while True:
            yield b"never read to its end"
            await asyncio.sleep(0)

    check_error(client.post(INFER, content=endless()), 503, "the queue is full")


def test_a_failure_of_the_model_is_500_and_tells_nothing(
    client: AppClient, state: State, app: Watched
) -> None:
    state.model.error = RuntimeError("the weights are at /secret/path")
    response = client.post(INFER, json=request_body())
    check_error(response, 500, "the server failed")
    assert "secret" not in response.text
    assert app.failure is state.model.error  # the access log is told
    assert state.model.metrics.failures == ["BACKEND"]


def test_a_page_that_does_not_exist_is_404(client: AppClient, app: Watched) -> None:
    for path in ("/v2/nothing", "/v2/trace/setting", "/v2/models/tiny-bn/", "/v2/models/a/b/c"):
        check_error(client.get(path), 404, "GET /v2 names what is")
        assert app.scope["state"]["problem"] == "not-found"
        assert "route" not in app.scope


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


def test_a_request_leaves_its_route_and_its_images_for_the_access_log(
    client: AppClient, app: Watched
) -> None:
    client.post("/v2/models/tiny-bn/versions/1.0.0/infer", json=request_body())
    assert app.scope["route"].path == "/v2/models/{name}/versions/{version}/infer"
    assert app.scope["state"]["images"] == 3
    assert "problem" not in app.scope["state"]


def test_an_error_leaves_its_type_for_the_access_log(client: AppClient, app: Watched) -> None:
    client.post(INFER, content=b"{")
    assert app.scope["state"]["problem"] == "malformed-request"
    assert app.scope["route"].path == "/v2/models/{name}/infer"


def test_an_answer_is_counted_with_the_seconds_of_its_stages(
    client: AppClient, state: State
) -> None:
    client.post(INFER, json=request_body())
    ((result, seconds),) = state.answers
    assert result.model is state.model
    assert np.array_equal(result.pixels, IMAGES)
    assert np.array_equal(result.scores.logits, SCORES.logits)
    assert (result.queue_s, result.run_s) == (0.002, 0.003)
    assert 0 < seconds["input_s"] < 10
    assert 0 < seconds["output_s"] < 10
    assert state.model.metrics.failures == []


@pytest.mark.parametrize(("hit", "said"), [(None, None), (True, "hit"), (False, "miss")])
def test_an_answer_says_whether_it_was_cached(
    client: AppClient, state: State, hit: bool | None, said: str | None
) -> None:
    if hit is not None:
        state.cache(hit=hit)
    assert client.post(INFER, json=request_body()).headers.get("x-cache") == said


def test_a_bad_request_is_counted_as_other(client: AppClient, state: State) -> None:
    client.post(INFER, content=b"{")
    assert state.model.metrics.failures == ["OTHER"]
    assert state.answers == []


def test_the_repository_lists_what_there_is(client: AppClient) -> None:
    for body in (b"", b"{}", b'{"ready": false}'):
        entries = client.post("/v2/repository/index", content=body).json()
        assert [entry["state"] for entry in entries] == ["READY", "UNAVAILABLE"]
    assert entries[1] == {
        "name": "tiny-old",
        "version": "0.9.0",
        "state": "UNAVAILABLE",
        "reason": "unloaded",
    }


def test_the_repository_lists_only_what_answers(client: AppClient) -> None:
    entries = client.post("/v2/repository/index", json={"ready": True}).json()
    assert [entry["name"] for entry in entries] == ["tiny-bn"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 1}'])
def test_an_index_request_of_another_form_is_400(client: AppClient, body: bytes) -> None:
    check_error(client.post("/v2/repository/index", content=body), 400, "")


@pytest.mark.parametrize("what", ["load", "unload"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {"unload_dependents": false}}'])
def test_a_model_is_loaded_and_unloaded(
    client: AppClient, state: State, what: str, body: bytes
) -> None:
    response = client.post(f"/v2/repository/models/tiny-bn/{what}", content=body)
    assert response.status_code == 200
    assert state.repository.calls == [(what, "tiny-bn")]


@pytest.mark.parametrize("what", ["load", "unload"])
def test_a_model_that_cannot_be_loaded_says_why(client: AppClient, state: State, what: str) -> None:
    path = f"/v2/repository/models/{{}}/{what}"
    check_error(client.post(path.format("nobody")), 400, "no artifact 'nobody'")
    for error in (BundleError("model.onnx has SHA-256 x"), errors.ModelRefusedError("is wrong")):
        state.repository.error = error
        check_error(client.post(path.format("tiny-bn")), 400, str(error))


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_model_of_the_callers_own_is_501(client: AppClient, state: State, name: str) -> None:
    response = client.post(
        "/v2/repository/models/tiny-bn/load", json={"parameters": {name: "e30="}}
    )
    check_error(response, 501, f"the parameter '{name}' is not served")
    assert state.repository.calls == []


def test_every_error_of_the_service_has_a_status() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ServiceError)
    ]
    abstract = {errors.ServiceError, errors.RequestError}
    assert [cls for cls in classes if cls not in STATUSES and cls not in abstract] == []


def test_the_status_of_the_nearest_class_is_taken() -> None:
    class Narrower(errors.BodyTooLargeError):
        pass

    assert status_of(Narrower("x")) == 413
    assert status_of(UnsupportedFeatureError("x")) == 501
    assert status_of(errors.ServiceError("x")) == 500


def test_an_error_of_no_known_class_tells_nothing(client: AppClient, state: State) -> None:
    state.model.error = errors.ServiceError("an inner detail")
    response = client.post(INFER, json=request_body())
    check_error(response, 500, "the server failed")
    assert "inner detail" not in response.text


def test_a_caller_that_hangs_up_early_is_metered(state: State) -> None:
    async def hang_up() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        path = INFER
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("foldnorm.test", 80),
            "client": ("127.0.0.1", 1),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await Watched(state)(scope, receive, send)
        return sent

    sent = asyncio.run(hang_up())
    assert sent[0]["status"] == 400
    assert state.model.metrics.failures == ["CANCELED"]
