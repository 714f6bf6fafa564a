from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.__main__ import main


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Starting sets up logging for the whole process; give it back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before, level


def test_a_missing_artifact_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--artifacts", str(tmp_path)])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"foldnorm-serve: no artifact in {tmp_path}")


def test_an_unknown_setting_is_one_line_and_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FOLDNORM_PROT", "1")
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error == "foldnorm-serve: unknown setting FOLDNORM_PROT; did you mean FOLDNORM_PORT?\n"
