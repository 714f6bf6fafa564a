"""From a released graph with batch norms to a picture's label, by the public functions alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import foldnorm
from tests import synthetic
from training.data.cifar10 import Split

ROOT = Path(__file__).resolve().parents[2]
FROG = ROOT / "docs" / "images" / "frog.png"
SHIP = ROOT / "docs" / "images" / "ship.png"


def test_a_released_graph_is_folded_and_answers_as_before(
    released_artifacts: Path, tmp_path: Path
) -> None:
    unfolded = released_artifacts / "keras-bn-1.1.0" / "model.unfolded.onnx"
    folded = foldnorm.fold_onnx(unfolded, tmp_path / "folded.onnx")
    assert folded.verdict.holds
    assert all(row.folded for row in folded.rows)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    before, after = (
        onnxruntime.InferenceSession(path).run(["logits"], {"image": images})[0]
        for path in (unfolded, tmp_path / "folded.onnx")
    )
    np.testing.assert_allclose(after, before, atol=1e-4 * float(np.abs(before).max()))


@pytest.mark.parametrize(
    "name", ["keras-bn", "keras-bn@1.1.0", "keras-bn-int8", "keras-bn-unfolded", "air94"]
)
def test_a_released_network_knows_a_frog_from_a_ship(released_artifacts: Path, name: str) -> None:
    model = foldnorm.load(name, artifacts=released_artifacts)
    frog, ship = model.predict([FROG, SHIP], top_k=3)
    assert (frog.label, ship.label) == ("frog", "ship")
    assert 0.3 < frog.probability <= 1


def test_the_folder_of_a_release_is_found_without_a_setting() -> None:
    assert foldnorm.load("keras-bn").predict(str(FROG))[0].label == "frog"


def test_a_released_artifact_is_healthy(released_artifacts: Path) -> None:
    diagnosis = foldnorm.doctor(released_artifacts / "keras-bn-1.1.0")
    assert (diagnosis.batch_norms, diagnosis.exit_code) == (6, 0)


def test_an_artifact_is_verified_as_the_command_does(
    released_artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100 of its 10,000 images; the whole is what the tests of `foldnorm verify` are for."""
    images = synthetic.random_images(1, 100)
    test = Split(images, np.zeros(len(images), np.int64))
    monkeypatch.setattr("training.data.cifar10.load_test_split", lambda _: test)
    judged: list[Split] = []
    monkeypatch.setattr(
        "training.release.artifact_check.judge_quantization",
        lambda _, split: judged.append(split),
    )
    verdict = foldnorm.verify(released_artifacts / "keras-bn-1.1.0", data_dir="data")
    assert verdict.holds
    assert verdict.verification.torch.images == len(images)
    assert judged == [test]
