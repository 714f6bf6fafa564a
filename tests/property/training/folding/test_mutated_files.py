"""Damaged files are refused, folded or left alone: never a traceback, never a wrong fold."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.mutated_models import mutated
from training.errors import FoldFaultError, TrainingError, VerificationError
from training.folding.onnx_fold import Options, fold_file

FILES = int(os.environ.get("FOLDNORM_FUZZED_FILES", "120"))  # 2,000 by hand, in about a minute
LIMIT_SECONDS = 30.0
OUR_FAULTS = (FoldFaultError, VerificationError)


@pytest.mark.parametrize("first", range(0, FILES, 20))
@pytest.mark.filterwarnings("ignore")
def test_no_damage_makes_a_traceback_or_a_wrong_fold(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 20):
        (tmp_path / "model.onnx").write_bytes(mutated(seed))
        started = time.monotonic()
        try:
            fold = fold_file(tmp_path / "model.onnx", Options())
            fold.check()
            fold.write(tmp_path / "folded.onnx")
        except OUR_FAULTS as error:
            pytest.fail(f"file {seed}: {error}")
        except TrainingError:
            pass  # refused, or not to be tested
        assert time.monotonic() - started < LIMIT_SECONDS, f"file {seed}"
