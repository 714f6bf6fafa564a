"""Real forks, of workers that load nothing (`tests/supervised.py`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.processes.supervisor import Supervisor
from tests.processes import LoggedProcess, children, lives, state_of, wait_until

Start = Callable[..., LoggedProcess]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a supervisor whose workers do as `kind` says."""
    processes: list[LoggedProcess] = []

    def start(kind: str = "answer", *options: str) -> LoggedProcess:
        command = [sys.executable, "-m", "tests.supervised", kind, str(tmp_path), *options]
        processes.append(LoggedProcess(command))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


def started(process: LoggedProcess) -> tuple[str, list[int]]:
    """Where it answers, and its workers by slot."""
    served = process.wait_for("serving")
    return served["url"], served["workers"]


def who_answers(url: str) -> dict[str, Any]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        answer: dict[str, Any] = json.loads(b"".join(iter(lambda: connection.recv(4096), b"")))
    return answer


def all_who_answer(url: str, times: int = 32) -> dict[int, dict[str, Any]]:
    """Who answered, by slot."""
    answers = [who_answers(url) for _ in range(times)]
    return {answer["slot"]: answer for answer in answers}


def test_every_worker_answers_on_a_socket_of_its_own(start: Start) -> None:
    process = start()
    served = process.wait_for("serving")
    answers = all_who_answer(served["url"])
    assert sorted(answers) == [1, 2]
    assert [answers[1]["pid"], answers[2]["pid"]] == served["workers"]
    assert sorted(children(process.pid)) == sorted(served["workers"])


def test_a_dead_worker_is_replaced_and_the_other_stays(start: Start) -> None:
    process = start()
    url, (victim, other) = started(process)
    os.kill(victim, signal.SIGKILL)
    died = process.wait_for("a worker died")
    assert (died["pid"], died["status"]) == (victim, -signal.SIGKILL)
    replacement = process.wait_for("a worker serves")["pid"]
    assert replacement not in (victim, other)
    answers = all_who_answer(url)
    assert {slot: answer["pid"] for slot, answer in answers.items()} == {1: replacement, 2: other}


def test_connections_wait_for_the_replacement_of_a_worker(start: Start) -> None:
    process = start()
    url, workers = started(process)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: {state_of(worker) for worker in workers} == {"T"}, "the workers to stop")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        assert json.loads(connection.recv(4096))["pid"] not in workers


def test_a_worker_inherits_no_more_than_its_own_sockets(start: Start) -> None:
    process = start()
    served = process.wait_for("serving")
    before = all_who_answer(served["url"])
    for _ in range(3):
        first = all_who_answer(served["url"])[1]["pid"]
        os.kill(first, signal.SIGKILL)
        process.wait_for("a worker serves")
    after = all_who_answer(served["url"])
    assert {answer["descriptors"] for answer in (*before.values(), *after.values())} == {
        # standard input, output and error; the listener, the channel, the connection, the listing
        3 + 4
    }


def test_no_dead_worker_stays_a_zombie(start: Start) -> None:
    process = start()
    workers = process.wait_for("serving")["workers"]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    replaced = [process.wait_for("a worker serves")["pid"] for _ in workers]
    assert sorted(children(process.pid)) == sorted(replaced)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("refused", "the model is damaged"),
        ("crash", "a worker ended with status 7 before it served; its log says why"),
        ("killed", "a worker was killed by signal 9 before it served; its log says why"),
        ("broken", "a worker ended with status 1 before it served; its log says why"),
    ],
)
def test_a_first_start_that_fails_is_one_line_and_exit_1(
    start: Start, kind: str, reason: str
) -> None:
    process = start(kind)
    assert process.end() == (1, f"{reason}\n")
    logged = [line["exception"] for line in process.log if "exception" in line]
    assert any("a worker has a bug" in exception for exception in logged) == (kind == "broken")


def test_a_first_start_that_hangs_is_given_up(start: Start) -> None:
    code, error = start("hang", "start_seconds=0.3").end()
    assert (code, error) == (
        1,
        "a worker was killed by signal 9 before it served; its log says why\n",
    )


def test_workers_that_cannot_start_any_more_are_tried_less_and_less_often(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    url, (victim, other) = started(process)
    (tmp_path / "spoiled").touch()
    os.kill(victim, signal.SIGKILL)
    deaths = [process.wait_for("a worker died") for _ in range(4)]
    assert [death["next_in_seconds"] for death in deaths] == [0.1, 0.2, 0.4, 0.8]
    assert [death.get("reason") for death in deaths] == [None, *["the model is damaged"] * 3]
    # Meanwhile nobody waits for it: all connections go to the other.
    assert {answer["pid"] for answer in all_who_answer(url).values()} == {other}
    (tmp_path / "spoiled").unlink()
    process.wait_for("a worker serves")
    assert sorted(all_who_answer(url)) == [1, 2]


def test_a_replacement_that_hangs_is_replaced_too(start: Start, tmp_path: Path) -> None:
    process = start("hang-again", "start_seconds=0.5")
    workers = process.wait_for("serving")["workers"]
    (tmp_path / "hung").touch()
    os.kill(workers[0], signal.SIGKILL)
    process.wait_for("a worker hangs and is killed")
    (tmp_path / "hung").unlink()
    process.wait_for("a worker serves")


def test_a_worker_that_hangs_up_is_ended_and_replaced(start: Start) -> None:
    process = start("deaf")
    assert process.wait_for("a worker died")["status"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_the_exit_code_is_0(start: Start, number: int) -> None:
    process = start()
    workers = process.wait_for("serving")["workers"]
    process.signal(number)
    assert process.end() == (0, "")
    assert not any(lives(worker) for worker in workers)


def test_a_signal_to_workers_that_have_not_started_ends_them(start: Start) -> None:
    process = start("hang")
    wait_until(lambda: len(children(process.pid)) == 2, "the workers to be forked")
    workers = children(process.pid)
    process.signal(signal.SIGTERM)
    assert process.end() == (0, "")
    assert not any(lives(worker) for worker in workers)


def test_workers_that_do_not_stop_are_killed(start: Start) -> None:
    process = start("stubborn", "stop_seconds=0.3")
    workers = process.wait_for("serving")["workers"]
    process.signal(signal.SIGTERM)
    assert process.end() == (0, "")
    assert not any(lives(worker) for worker in workers)
    assert sum(line["message"] == "a worker hangs and is killed" for line in process.log) == 2


def test_a_second_ctrl_c_does_not_wait_for_workers_that_do_not_stop(start: Start) -> None:
    process = start("stubborn", "stop_seconds=600")
    workers = process.wait_for("serving")["workers"]
    process.signal(signal.SIGTERM)
    process.wait_for("stopping")
    process.signal(signal.SIGINT)
    assert process.end() == (0, "")
    assert not any(lives(worker) for worker in workers)


def test_a_port_that_is_taken_starts_no_worker(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        supervisor = Supervisor("127.0.0.1", port, 2, lambda _: None, tmp_path, 1.0)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            supervisor.run()
    assert supervisor.slots == []
