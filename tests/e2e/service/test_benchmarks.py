"""The benchmarks measure what they say: a smoke test of the whole, and the parts that judge."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig.exchange import Client, Request, run_clients
from benchmarks.rig.open_loop import OpenLoop
from benchmarks.rig.server import Server, ServerFailedError
from benchmarks.rig.sockets import waiting_to_be_accepted
from benchmarks.serving_answers import WrongAnswerError, answers, check_answers
from benchmarks.serving_cells import Cell
from benchmarks.serving_summary import summarize
from benchmarks.serving_systems import systems
from benchmarks.serving_table import table

ROOT = Path(__file__).parents[3]
LONGEST_RUN_S = 180
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = Request(7, "/", {}, b"body")

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk is not installed; apt-get install wrk"
)


def run(module: str, output: Path, *arguments: str) -> dict[str, Any]:
    """Return the document that a benchmark writes, which is also its last line."""
    process = subprocess.run(
        [sys.executable, "-m", module, "--quick", "--output", str(output), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    assert json.loads(process.stdout.splitlines()[-1]) == document
    return document


@needs_wrk
def test_a_quick_run_measures_ours_and_the_naive_app(tmp_path: Path) -> None:
    arguments = ["--systems", "naive-1,ours,ceiling", "--loads", "png-16,arrays-64x4"]
    document = run("benchmarks.serving", tmp_path / "serving.json", *arguments)
    cells = document["cells"]
    assert [(cell["load"], cell["system"]) for cell in cells] == list(
        itertools.product(["png-16", "arrays-64x4"], ["ceiling", "naive-1", "ours"])
    )
    for cell in cells:
        assert cell["failure"] is None
        assert cell["images_per_s"] > 0
        assert sum(cell["errors"].values()) == 0
        if cell["system"] != "ceiling":
            assert cell["memory_mib"][0] > 20
            assert cell["cold_start_s"] > 0
    ratios = document["summary"]["loads"]["png-16"]["ours"]["throughput_ratio"]
    assert set(ratios) == {"ceiling", "naive-1"}
    assert document["environment"]["cores"] >= 1
    assert str(ROOT) not in json.dumps(document["systems"])


def test_a_quick_trial_gives_every_image_its_own_answer(tmp_path: Path) -> None:
    document = run("benchmarks.serving_trials", tmp_path / "trials.json", "--trials", "mixed")
    mixed = document["trials"]["mixed"]
    assert (mixed["failed"], mixed["answers_of_another_image"], mixed["images"]) == (0, 0, 100)
    assert mixed["smallest_difference_between_two_images"] > 100 * mixed["tolerance"]


def test_a_system_that_answers_for_another_network_is_not_measured() -> None:
    (naive,) = [system for system in systems() if system.name == "naive-1"]
    route = naive.routes["arrays"]
    other = naive.graph.parents[1] / "keras-baseline-1.1.0" / "model.onnx"
    with Server(naive.command, naive.environment) as server:
        server.wait_for_answer(lambda: answers(server, route))
        check_answers(server, naive, route)
        with pytest.raises(WrongAnswerError, match=r"naive-1 answers .* its network"):
            check_answers(server, dataclasses.replace(naive, graph=other), route)


def test_a_server_that_ends_by_itself_is_reported_with_its_last_words() -> None:
    program = "import sys; sys.exit('the port is on fire')"
    with (
        Server((sys.executable, "-c", program), {}) as server,
        pytest.raises(ServerFailedError, match=r"ended with 1: .*the port is on fire"),
    ):
        server.wait_for_answer(lambda: False)


def test_no_process_of_a_stopped_server_is_left() -> None:
    program = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    )
    with Server((sys.executable, "-c", program), {}) as server:
        server.wait_for_answer(lambda: len(server.pids()) == 2)
    assert server.pids() == []


def test_a_ratio_is_taken_within_its_round() -> None:
    rates = {"ours": (100.0, 300.0, 50.0), "naive-2": (50.0, 100.0, 100.0)}
    cells = [
        Cell(name, "png-16", round_, images_per_s=rate, p50_ms=1.0, p99_ms=2.0)
        for name, values in rates.items()
        for round_, rate in enumerate(values)
    ]
    summary = summarize(cells)
    ours = summary.loads["png-16"]["ours"]
    assert ours["throughput_ratio"]["naive-2"] == {"median": 2.0, "min": 0.5, "max": 3.0, "n": 3}
    assert ours["images_per_s"] == {"median": 100.0, "min": 50.0, "max": 300.0, "n": 3}
    of_medians = 100.0 / 100.0
    assert of_medians != ours["throughput_ratio"]["naive-2"]["median"]
    assert "| png-16 | ours | 100 | 50..300 |" in table(summary, markdown=True)


def test_a_failed_cell_is_shown_and_enters_no_median() -> None:
    cells = [
        Cell("ours", "png-16", 0, images_per_s=10.0, p50_ms=1.0, p99_ms=1.0),
        Cell("ours", "png-16", 1, failure="it ended"),
        Cell("naive-2", "png-16", 0, failure="it never began"),
    ]
    by_system = summarize(cells).loads["png-16"]
    assert by_system["ours"]["images_per_s"] == {"median": 10.0, "min": 10.0, "max": 10.0, "n": 1}
    assert by_system["ours"]["failures"] == ["it ended"]
    assert by_system["naive-2"]["images_per_s"] is None
    assert "failed" in table(summarize(cells))


def test_goodput_counts_neither_late_answers_nor_refusals_nor_the_ramp() -> None:
    loop = OpenLoop(
        offered_per_s=2.0,
        connections=1,
        started_s=np.array([0.0, 1.0, 1.5, 2.0, 3.0]),
        status=np.array([200, 200, 200, 503, 200]),
        latency_ms=np.array([10.0, 10.0, 300.0, 1.0, 10.0]),
        last_sent_at=0.0,
        steady_from_s=1.0,
        steady_until_s=3.0,
    )
    assert loop.per_second(200, most_ms=100.0) == 0.5  # one in two seconds
    assert loop.per_second(200, most_ms=1000.0) == 1.0
    assert loop.sent_per_s == 1.5
    assert loop.counts() == {"200": 4, "503": 1}


@pytest.mark.parametrize(
    ("answer", "ending"),
    [(OK, "answered"), (b"", "unanswered"), (OK[:10], "truncated"), (OK[:-1], "truncated")],
    ids=["whole", "none", "half a head", "a byte short"],
)
def test_a_client_reports_how_its_request_ended(answer: bytes, ending: str) -> None:
    async def ask(port: int) -> str:
        client = Client(port)
        exchange = await client.exchange(REQUEST)
        await client.close()
        return exchange.ending

    assert asyncio.run(with_server(answer, ask)) == ending


def test_a_refused_connection_is_no_lost_request() -> None:
    async def ask() -> tuple[str, bool]:
        port = await with_server(b"", closed_port)
        exchange = await Client(port).exchange(REQUEST)
        return exchange.ending, exchange.lost

    assert asyncio.run(ask()) == ("not_connected", False)


def test_connections_that_nobody_accepts_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        port = listener.getsockname()[1]
        assert waiting_to_be_accepted(port) == 0
        with (
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)),
        ):
            assert waiting_to_be_accepted(port) == 2


def test_clients_keep_their_connection_and_take_requests_in_turn() -> None:
    async def ask(port: int) -> list[tuple[int, bool]]:
        requests = iter([dataclasses.replace(REQUEST, key=key) for key in range(4)])
        exchanges = await run_clients(port, requests, 1, lambda: False)
        return [(exchange.key, exchange.fresh_connection) for exchange in exchanges]

    expected = [(0, True), (1, False), (2, False), (3, False)]
    assert asyncio.run(with_server(OK, ask, keep_alive=True)) == expected


async def closed_port(port: int) -> int:
    return port


async def with_server(
    answer: bytes, ask: Callable[[int], Awaitable[Any]], *, keep_alive: bool = False
) -> Any:
    """Ask a server that reads a request, writes some bytes and closes, or goes on."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"body"):
                writer.write(answer)
                if not keep_alive:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await ask(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()
