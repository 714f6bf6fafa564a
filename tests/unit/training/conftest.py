"""What tests of the training package share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _keep_denormals() -> Iterator[None]:
    """Undo what a run sets for the whole process: hypothesis refuses to work without denormals."""
    yield
    torch.set_flush_denormal(False)
