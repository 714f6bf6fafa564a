"""A real `foldnorm-serve --workers 2` on loopback: killed, stopped and reloaded under load."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_catalogue
from tests import synthetic
from tests.load import REFUSED, Caller, Load, holder
from tests.processes import LoggedProcess, catches, children, lives, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SECONDS = 30
LOAD_SECONDS = 1.0  # before and after what happens to the service


class Service:
    """A service of two workers, and what can be asked of it."""

    def __init__(self, artifacts: Path, *arguments: str, **variables: str) -> None:
        command = [sys.executable, "-m", "service", "--port", "0", "--workers", "2"]
        self.process = LoggedProcess(
            [*command, "--artifacts", str(artifacts), *arguments], **variables
        )
        self.artifacts = artifacts

    def wait(self) -> None:
        served = self.process.wait_for("serving")
        self.url: str = served["url"]
        self.host, port = self.url.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    @property
    def workers(self) -> list[int]:
        return children(self.process.pid)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=SECONDS)

    def change(self, model: str, action: str) -> httpx.Response:
        """Load or unload a model."""
        path = f"/v2/repository/models/{model}/{action}"
        return httpx.post(f"{self.url}{path}", timeout=SECONDS)

    def sample(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = self.get("/metrics").text
        found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def caller(self, image: bytes, *, keeps: bool = True) -> Caller:
        return Caller((self.host, self.port), image, keeps)

    def each_worker(self, path: str) -> dict[int, Any]:
        """What each worker answers: the kernel chooses, so it is asked until both have."""
        answers: dict[int, Any] = {}
        workers = set(self.workers)
        until = time.monotonic() + SECONDS
        while set(answers) != workers:
            assert time.monotonic() < until, f"only {list(answers)} of {workers} answer"
            with httpx.Client(base_url=self.url, timeout=SECONDS) as http:
                answer = http.get(path)
                pid = self.holder(answer)
                if pid is not None:
                    answers[pid] = answer.json()
        return answers

    def holder(self, answer: httpx.Response) -> int | None:
        stream = answer.extensions["network_stream"]
        return holder(self.workers, self.port, stream.get_extra_info("client_addr")[1])

    def models(self) -> list[set[str]]:
        """What each worker serves, as name@version."""
        answers = self.each_worker("/v1/models").values()
        return [{f"{one['name']}@{one['version']}" for one in each["models"]} for each in answers]


@pytest.fixture
def own_artifacts(artifacts: Path, tmp_path: Path) -> Path:
    """A copy of the synthetic artifacts that a test may change."""
    return shutil.copytree(artifacts, tmp_path / "artifacts")


@pytest.fixture
def service(own_artifacts: Path) -> Iterator[Service]:
    service = Service(own_artifacts)
    with closing(service.process):
        service.wait()
        yield service


@pytest.fixture
def image(png: Callable[[NDArray[np.uint8]], bytes]) -> bytes:
    return png(IMAGE)


def test_what_ships_is_served_by_two_workers_that_give_one_answer(
    released_artifacts: Path, image: bytes
) -> None:
    released = {bundle.name for bundle in load_catalogue(released_artifacts)}
    service = Service(released_artifacts)
    with closing(service.process):
        service.wait()
        assert len(service.workers) == 2
        assert all({name.split("@")[0] for name in each} >= released for each in service.models())
        callers = [service.caller(image) for _ in range(24)]
        for caller in callers:
            caller.ask()
        pids = Counter(holder(service.workers, service.port, one.port) for one in callers)
        labels = {re.findall(rb'"label":"(\w+)"', one.results[0].body)[0] for one in callers}
        for caller in callers:
            caller.close()
        assert sorted(pids) == sorted(service.workers)
        assert len(labels) == 1
        assert service.sample("foldnorm_images_total") == len(callers)
        wait_until(lambda: service.sample("foldnorm_workers") == 2, "both workers' gauges")
        service.process.signal(signal.SIGTERM)
        assert service.process.end() == (0, "")


def test_a_killed_worker_costs_its_requests_in_flight_and_nothing_else(
    service: Service, image: bytes, record_property: Callable[[str, object], None]
) -> None:
    callers = [service.caller(image) for _ in range(8)]
    for caller in callers:
        caller.ask()
    victim, other = service.workers
    before = {id(one): holder([victim, other], service.port, one.port) for one in callers}
    with Load(callers) as load:
        time.sleep(LOAD_SECONDS)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        assert service.process.wait_for("a worker died")["pid"] == victim
        replacement = service.process.wait_for("a worker serves")["pid"]
        seconds = time.monotonic() - killed_at
        time.sleep(LOAD_SECONDS)
    record_property("seconds_to_replace", round(seconds, 3))
    assert seconds < 10
    for caller in callers:
        failed = [one for one in caller.results if one.ending != 200]
        assert len(failed) <= (1 if before[id(caller)] == victim else 0), failed
    assert sorted(service.workers) == sorted([other, replacement])
    # The counts of the dead stay, what it held does not.
    answered = load.endings().count(200)
    lost = len(load.endings()) - answered
    assert answered <= service.sample("foldnorm_images_total") <= answered + lost
    wait_until(lambda: service.sample("foldnorm_workers") == 2, "the replacement's gauges")
    wait_until(lambda: service.sample("foldnorm_work_in_progress") == 0, "nothing in progress")


def test_the_other_workers_are_the_only_ones_spared(service: Service, image: bytes) -> None:
    """The negative control: with every worker killed, requests do fail."""
    callers = [service.caller(image) for _ in range(8)]
    with Load(callers) as load:
        time.sleep(LOAD_SECONDS)
        for worker in service.workers:
            os.kill(worker, signal.SIGKILL)
        for _ in range(2):
            service.process.wait_for("a worker serves")
    assert any(ending != 200 for ending in load.endings())


def test_sigterm_under_load_answers_whoever_got_in(service: Service, image: bytes) -> None:
    workers = service.workers
    kept = [service.caller(image) for _ in range(6)]
    opened = [service.caller(image, keeps=False) for _ in range(6)]
    with Load([*kept, *opened]) as load:
        time.sleep(LOAD_SECONDS)
        service.process.signal(signal.SIGTERM)
        code, error = service.process.end()
    assert (code, error) == (0, "")
    assert not [line for line in service.process.log if line["level"] == "error"]
    endings = Counter(load.endings())
    assert set(endings) <= {200, 503, REFUSED}, endings
    assert endings[200] > 0
    assert endings[503] > 0
    assert not any(lives(pid) for pid in workers)
    draining = [one for caller in load.callers for one in caller.results if one.ending == 503]
    assert all(b"urn:foldnorm:problem:draining" in one.body for one in draining)


def test_ctrl_c_reaches_all_processes_and_ends_them_quietly(service: Service) -> None:
    workers = service.workers
    service.process.signal_group(signal.SIGINT)
    assert service.process.end() == (0, "")
    assert not any(lives(pid) for pid in workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_while_the_models_load_ends_it_quietly(
    artifacts: Path, workers: str, number: int
) -> None:
    service = Service(artifacts, "--workers", workers)
    with closing(service.process):
        if workers == "2":
            wait_until(lambda: len(service.workers) == 2, "the workers to be forked")
        else:
            wait_until(lambda: catches(service.process.pid, signal.SIGTERM), "it to take signals")
        service.process.signal_group(number)
        assert service.process.end() == (0, "")


def test_workers_whose_supervisor_was_killed_finish_and_go(
    own_artifacts: Path, image: bytes, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    service = Service(own_artifacts, TMPDIR=str(temporary))
    with closing(service.process):
        service.wait()
        workers = service.workers
        with Load([service.caller(image) for _ in range(4)]) as load:
            time.sleep(LOAD_SECONDS)
            service.process.signal(signal.SIGKILL)
            wait_until(lambda: not any(lives(pid) for pid in workers), "the workers to go")
    assert set(load.endings()) <= {200, 503, REFUSED}, Counter(load.endings())
    assert len(list(temporary.glob("foldnorm-metrics-*"))) == 1
    successor = Service(own_artifacts, TMPDIR=str(temporary))
    with closing(successor.process):
        successor.wait()
        assert len(list(temporary.glob("foldnorm-metrics-*"))) == 1
        successor.process.signal(signal.SIGTERM)
        assert successor.process.end() == (0, "")
    assert not list(temporary.glob("foldnorm-metrics-*"))


def test_reload_under_load_loses_nothing_and_reaches_every_worker(
    service: Service, image: bytes
) -> None:
    with Load([service.caller(image) for _ in range(8)]) as load:
        time.sleep(LOAD_SECONDS)
        synthetic.write_artifact(service.artifacts, "tiny-bn", norms=True, seed=3, version="1.1.0")
        assert (service.change("tiny-bn", "load").status_code) == 200
        swapped = load.answered
        wait_until(lambda: load.answered > swapped + 100, "requests after the change")
    assert set(load.endings()) == {200}
    assert all({"tiny-bn@1.0.0", "tiny-bn@1.1.0"} <= each for each in service.models())
    for caller in load.callers:
        versions = [re.findall(rb'"version":"([\d.]+)"', one.body)[0] for one in caller.results]
        assert versions == sorted(versions), "a caller never goes back to the old version"
        assert versions[-1] == b"1.1.0"


def test_a_damaged_artifact_leaves_the_old_one_in_every_worker_and_says_why(
    service: Service, image: bytes
) -> None:
    before = service.models()
    graph = service.artifacts / "tiny-bn-1.0.0" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with Load([service.caller(image) for _ in range(4)]) as load:
        refused = service.change("tiny-bn", "load")
    assert refused.status_code == 400
    assert "model.onnx" in refused.json()["error"]
    assert service.models() == before
    assert set(load.endings()) == {200}


def test_a_broken_neighbour_keeps_no_worker_and_no_other_model_from_service(
    service: Service,
) -> None:
    url = f"{service.url}/v2/repository/index"
    before = httpx.post(url, timeout=SECONDS).json()
    half_copied = service.artifacts / "other-1.0.0"
    half_copied.mkdir()
    (half_copied / "manifest.json").write_text("{", encoding="utf-8")
    assert httpx.post(url, timeout=SECONDS).json() == before
    logged = service.process.wait_for("an artifact is broken and passed over")
    assert "other-1.0.0" in logged["reason"]
    assert service.change("tiny-plain", "load").status_code == 200
    assert "other-1.0.0" in service.change("other", "load").json()["error"]
    for worker in service.workers:
        os.kill(worker, signal.SIGKILL)
    for _ in range(2):
        service.process.wait_for("a worker serves")
    assert len(service.models()) == 2


def test_a_replacement_serves_what_the_other_workers_serve(service: Service) -> None:
    synthetic.write_artifact(service.artifacts, "tiny-bn", norms=True, seed=3, version="2.0.0")
    synthetic.write_artifact(service.artifacts, "tiny-new", norms=False, seed=4)
    assert service.change("tiny-bn-unfolded", "unload").status_code == 200
    os.kill(service.workers[0], signal.SIGKILL)
    service.process.wait_for("a worker serves")
    assert service.models() == [{"tiny-bn@1.0.0", "tiny-plain@1.0.0"}] * 2
    assert service.change("tiny-new", "load").status_code == 200
    assert service.models() == [{"tiny-bn@1.0.0", "tiny-plain@1.0.0", "tiny-new@1.0.0"}] * 2


def test_a_change_while_a_worker_is_replaced_reaches_it_too(service: Service) -> None:
    os.kill(service.workers[0], signal.SIGKILL)
    assert service.change("tiny-plain", "unload").status_code == 200
    wait_until(lambda: len(service.workers) == 2, "the replacement")
    assert service.models() == [{"tiny-bn@1.0.0", "tiny-bn-unfolded@1.0.0"}] * 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_one_clear_line(service: Service, workers: str) -> None:
    second = Service(service.artifacts, "--port", str(service.port), "--workers", workers)
    with closing(second.process):
        code, error = second.process.end()
    assert code == 1
    (line,) = error.splitlines()
    assert f"cannot listen on 127.0.0.1 port {service.port}: Address already in use" in line


def test_a_model_that_cannot_be_served_is_one_clear_line(own_artifacts: Path) -> None:
    (own_artifacts / "tiny-bn-1.0.0" / "model.onnx").write_bytes(b"no graph")
    service = Service(own_artifacts)
    with closing(service.process):
        code, error = service.process.end()
    assert code == 1
    (line,) = error.splitlines()
    assert "model.onnx" in line
