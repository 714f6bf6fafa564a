"""What every trial needs: a started `foldnorm-serve` and requests for it."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.rig.exchange import Request
from benchmarks.rig.server import Server
from benchmarks.serving_answers import answers, prepared
from benchmarks.serving_systems import MODEL_NAME, SERVE, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREDICT = Route(f"/v1/predict?model={MODEL_NAME}&top_k=10", "png")
INFER = Route(f"/v2/models/{MODEL_NAME}/infer", "v2")


@contextmanager
def served(arguments: Sequence[str], **environment: str) -> Iterator[Server]:
    """Start foldnorm-serve, and hand it over when all its processes are up."""
    with Server((SERVE, "--port", "{port}", *arguments), environment) as server:
        server.wait_for_answer(lambda: answers(server, PREDICT))
        server.wait_until_quiet()
        yield server


def requests() -> Iterator[Request]:
    """Return the requests for all images, over and over; the key is the image's index."""
    bodies = prepared("png")
    return itertools.cycle(
        Request(index, PREDICT.path, bodies.headers, content)
        for index, content in enumerate(bodies.contents)
    )
