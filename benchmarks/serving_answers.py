"""Before a system is measured it must answer right: speed with wrong answers is no speed.

The labels come from its own graph, run in this process.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rig.bodies import bodies
from benchmarks.serving_peers.ceiling import single_threaded
from benchmarks.serving_peers.cifar10 import LABELS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.rig.bodies import Bodies, BodyKind
    from benchmarks.rig.server import Server
    from benchmarks.serving_systems import Route, System

CHECKED = 4
TIMEOUT_S = 15


class WrongAnswerError(Exception):
    """A system answered an error, or another label than its network gives."""


def answers(server: Server, route: Route) -> bool:
    """Whether the first request is answered with 200."""
    try:
        return bool(_ask(server, route, prepared(route.body), 0))
    except WrongAnswerError:
        return False


def check_answers(server: Server, system: System, route: Route) -> None:
    """Compare the labels of the first requests with the network's own.

    Raises:
        WrongAnswerError: an answer is an error, or names another label.
    """
    requests = prepared(route.body)
    for index in range(CHECKED):
        given = _labels(route.body, _ask(server, route, requests, index))
        expected = _expected(system.graph, route.body)[index]
        if given != expected:
            raise WrongAnswerError(
                f"{system.name} answers {given[:3]} to request {index}, its network {expected[:3]}"
            )


@cache
def prepared(kind: BodyKind) -> Bodies:
    """Return the bodies of one kind, made once."""
    return bodies(kind)


@cache
def _expected(graph: Path, kind: BodyKind) -> list[list[str]]:
    session = single_threaded(str(graph))
    runs = [
        session.run(["probabilities"], {"image": images})[0]
        for images in prepared(kind).images[:CHECKED]
    ]
    return [[LABELS[best] for best in run.argmax(axis=1)] for run in runs]


def _ask(server: Server, route: Route, requests: Bodies, index: int) -> bytes:
    request = urllib.request.Request(
        server.url + route.path, data=requests.contents[index], headers=requests.headers
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        text = error.read()[:300].decode(errors="replace")
        raise WrongAnswerError(f"{route.path} answers {error.code}: {text}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise error.reason from error  # not listening yet
        raise


def _labels(kind: BodyKind, content: bytes) -> list[str]:
    """Return the labels in an answer of ours or of a peer's."""
    if kind == "v2":
        return _v2_labels(content)
    answer = json.loads(content)
    if "predictions" in answer:
        return [prediction["label"] for prediction in answer["predictions"]]
    labels: list[str] = answer["labels"] if "labels" in answer else [answer["label"]]
    return labels


def _v2_labels(content: bytes) -> list[str]:
    """Return the labels of a binary answer: its tail is one float32 tensor (N, 10)."""
    head, _, _ = content.partition(b"}]}")
    size = json.loads(head + b"}]}")["outputs"][0]["parameters"]["binary_data_size"]
    probabilities = np.frombuffer(content[-size:], np.float32).reshape(-1, len(LABELS))
    return [LABELS[best] for best in probabilities.argmax(axis=1)]
