"""The routes of `/v2` around fake models, without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asgi_client import AppClient
from tests.v2_fakes import State, Watched, load_fake_state


@pytest.fixture
def state(artifacts: Path) -> State:
    return load_fake_state(artifacts)


@pytest.fixture
def app(state: State) -> Watched:
    return Watched(state)


@pytest.fixture
def client(app: Watched) -> Iterator[AppClient]:
    with AppClient(app) as client:
        yield client
