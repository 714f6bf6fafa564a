"""What tests of several folders share."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests import synthetic

ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "models" / "artifacts"
# Read here, before `_clean_environment` takes it away.
DATA_DIR = Path(os.environ.get("FOLDNORM_DATA_DIR", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the synthetic artifacts `tiny-plain` and `tiny-bn`."""
    folder = tmp_path_factory.mktemp("artifacts")
    synthetic.write_artifact(folder, "tiny-plain", norms=False, seed=1)
    synthetic.write_artifact(folder, "tiny-bn", norms=True, seed=2)
    return folder


@pytest.fixture(scope="session")
def released_artifacts() -> Path:
    """The folder of the artifacts that ship."""
    return RELEASED


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the full dataset."""
    if not (DATA_DIR / "cifar-10-batches-py" / "test_batch").is_file():
        pytest.skip(
            f"no CIFAR-10 in {DATA_DIR}: 'foldnorm fetch --data-dir DIR' brings it, and "
            "FOLDNORM_DATA_DIR names it"
        )
    return DATA_DIR


@pytest.fixture(scope="session")
def png() -> Callable[[NDArray[np.uint8]], bytes]:
    """Encodes an image (H, W, 3) as PNG, which loses nothing."""

    def encode(image: NDArray[np.uint8]) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for variable in [name for name in os.environ if name.upper().startswith("FOLDNORM_")]:
        monkeypatch.delenv(variable)
