"""`foldnorm bench` over a real socket. No figure is held to a time: machines differ."""

import json

import pytest

from training.client.errors import MismatchError, RequestError, ServerError

SHORT = ("--duration", "0.3", "--warmup", "0")


def test_an_open_loop_sends_what_is_due_and_writes_json(server, foldnorm, image, tmp_path):
    server.prediction()
    file = tmp_path / "bench.json"
    options = ("--image", image, "--arrivals", "constant", "--verify", "--json", file)
    result = foldnorm("bench", "--url", server.url, "--rate", "20,40", *options, *SHORT)
    assert result.exit_code == 0, result.exception
    table = json.loads(file.read_text())
    assert [step["counts"]["ok"] for step in table["steps"]] == [6, 12]
    assert [step["offered_per_s"] for step in table["steps"]] == [20, 40]
    assert [step["mismatches"] for step in table["steps"]] == [0, 0]
    assert {"processor", "cpus", "versions", "arguments"} <= set(table["environment"])
    assert len(server.requests) == 1 + 6 + 12  # the first asks for the image's own answer
    assert "goodput/s" in result.stdout


def test_a_closed_loop_prints_json_in_place_of_the_table(server, foldnorm, image):
    server.prediction(images=1)
    options = ("--image", image, "--connections", "2", "--json", "-")
    result = foldnorm("bench", "--url", server.url, *options, *SHORT)
    (step,) = json.loads(result.stdout)["steps"]
    assert step["counts"]["ok"] > 2
    assert (step["connections"], step["offered_per_s"], step["lag"]) == (2, None, None)


def test_refusals_and_their_retry_after_are_counted(server, foldnorm, image):
    server.prediction()
    server.problem(503, "the queue is full", Retry_After="2")
    options = ("--image", image, "--rate", "20", "--arrivals", "constant", "--json", "-")
    result = foldnorm("bench", "--url", server.url, *options, *SHORT)
    (step,) = json.loads(result.stdout)["steps"]
    assert step["counts"]["rejected_503"] == 6
    assert step["retry_after"] == {"2": 6}
    assert (step["accepted"], step["rejected"]["count"], step["goodput_per_s"]) == (None, 6, 0)


def test_an_answer_that_is_not_the_images_own_is_exit_code_3(server, foldnorm, image):
    server.prediction()
    server.script.append((200, {}, server.script[0][2].replace(b"1.0", b"0.4")))
    options = ("--image", image, "--rate", "20", "--arrivals", "constant", "--verify")
    result = foldnorm("bench", "--url", server.url, *options, *SHORT)
    assert isinstance(result.exception, MismatchError)
    assert result.exception.exit_code == 3
    assert str(result.exception).startswith("6 answers were not those of their images; 0 is right")


def test_without_verify_the_same_answers_are_not_looked_at(server, foldnorm, image):
    server.prediction()
    server.script.append((200, {}, b"anything"))
    options = ("--image", image, "--rate", "20")
    assert foldnorm("bench", "--url", server.url, *options, *SHORT).exit_code == 0


def test_requests_that_get_no_answer_are_counted(server, foldnorm, image):
    server.prediction()
    server.script.append((None, {}, b""))
    options = ("--image", image, "--rate", "20", "--arrivals", "constant", "--json", "-")
    result = foldnorm("bench", "--url", server.url, *options, *SHORT)
    (step,) = json.loads(result.stdout)["steps"]
    assert sum(step["counts"]["other"].values()) == 6


def test_a_server_that_refuses_the_image_is_not_measured(server, foldnorm, image):
    server.problem(422, "no image")
    result = foldnorm("bench", "--url", server.url, "--image", image, "--rate", "20", *SHORT)
    assert isinstance(result.exception, RequestError)
    assert str(result.exception) == f"{image}: no image"


def test_pixels_are_of_the_size_that_the_models_metadata_states(server, foldnorm, image):
    metadata = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 48, 64, 3]}]}
    server.script.append((200, {}, json.dumps(metadata).encode()))
    options = ("--protocol", "v2", "--model", "m", "--pixels", "--image", image, "--rate", "20")
    result = foldnorm("bench", "--url", server.url, *options, *SHORT)
    assert [path for path, *_ in server.requests] == ["/v2/models/m"]
    assert "image 0 cannot be decoded" in str(result.exception)


def test_a_server_that_is_not_there_is_server_trouble(foldnorm, image):
    result = foldnorm("bench", "--url", "http://127.0.0.1:9", "--image", image, "--rate", "20")
    assert isinstance(result.exception, ServerError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either --rate (open loop) or --connections (closed loop)"),
        (("--rate", "1", "--connections", "1"), "give either --rate"),
        (("--rate", "1,x"), "--rate is '1,x'; give numbers above 0"),
        (("--rate", "0"), "--rate is '0'"),
        (("--rate", "-1"), "--rate is '-1'"),
        (("--connections", "1.5"), "--connections is '1.5'"),
        (("--rate", "1", "--images", "."), "give either --image FILE or --images FOLDER"),
        (("--rate", "1", "--protocol", "v3"), "no protocol 'v3'; take v1 or v2"),
        (("--rate", "1", "--protocol", "v2"), "name one with --model"),
        (("--rate", "1", "--pixels"), "--pixels goes with --protocol v2"),
        (("--rate", "1", "--arrivals", "bursts"), "no arrivals 'bursts'"),
        (("--rate", "1", "--json", "no-such/x.json"), "there is no folder no-such"),
        (("--connections", "99999999"), "open files"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_request(foldnorm, image, options, message):
    result = foldnorm("bench", "--image", image, *options)
    assert isinstance(result.exception, RequestError), result.exception
    assert message in str(result.exception)
