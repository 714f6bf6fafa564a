"""The limit on open files."""

import resource

import pytest

from training.client.errors import RequestError
from training.client.load.open_files import SPARE, allow_open_files


@pytest.fixture
def limits(monkeypatch):
    """A process that may open 200 files, and 2,000 if it asks."""
    held = {"limits": (200, 2000)}
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: held["limits"])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, new: held.update(limits=new))
    return held


def test_few_connections_leave_the_limit_alone(limits):
    allow_open_files(200 - SPARE)
    assert limits["limits"] == (200, 2000)


def test_more_connections_raise_it_as_far_as_needed(limits):
    allow_open_files(500)
    assert limits["limits"] == (500 + SPARE, 2000)


def test_more_than_the_system_allows_are_refused(limits):
    with pytest.raises(RequestError, match=r"1,901 connections need 2,001 open files"):
        allow_open_files(1901)
    assert limits["limits"] == (200, 2000)
