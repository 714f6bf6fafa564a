"""Servers of the released artifacts and of synthetic ones, and images that both know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle, load_catalogue
from tests.v2_server import serving


@pytest.fixture(scope="module")
def url(released_artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of what ships."""
    with serving(released_artifacts, tmp_path_factory.mktemp("released")) as url:
        yield url


@pytest.fixture
def own_url(artifacts: Path, tmp_path: Path) -> Iterator[str]:
    """A server of the synthetic artifacts that a test may change."""
    with serving(artifacts, tmp_path) as url:
        yield url


@pytest.fixture(scope="session")
def bundle(released_artifacts: Path) -> Bundle:
    """The newest released artifact of `keras-bn`."""
    return next(one for one in load_catalogue(released_artifacts) if one.name == "keras-bn")


@pytest.fixture(scope="session")
def images(bundle: Bundle) -> NDArray[np.uint8]:
    """Its golden images: real ones."""
    return np.ascontiguousarray(bundle.read_golden().images)
