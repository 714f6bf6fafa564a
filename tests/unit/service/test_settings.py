from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Limits, Settings, SettingsError, load_settings


def test_the_environment_sets_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDNORM_MAX_IMAGES", "8")
    assert load_settings().limits.max_images == 8


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDNORM_PORT", "9000")
    assert load_settings(port=9001).port == 9001


def test_an_unknown_variable_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOLDNORM_MAX_IMAGE", "8")
    with pytest.raises(SettingsError, match=r"FOLDNORM_MAX_IMAGE; .* FOLDNORM_MAX_IMAGES\?"):
        load_settings()


def test_a_value_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDNORM_PORT", "70000")
    with pytest.raises(SettingsError, match=r"FOLDNORM_PORT='70000' does not fit: .*65535"):
        load_settings()


def test_a_request_must_fit_into_a_batch_and_a_batch_into_the_queue() -> None:
    with pytest.raises(SettingsError, match=r"^max_images \(64\) must be at most .*32"):
        load_settings(max_batch_images=32)


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_the_defaults_are_the_documented_limits() -> None:
    assert Limits() == Settings().limits


def test_the_shipped_artifacts_are_found_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = Path(__file__).resolve().parents[3] / "models" / "artifacts"
    assert expected == load_settings().artifacts
